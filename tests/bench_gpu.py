"""The GPU path against its goals, on one CUDA device: python tests/bench_gpu.py, or make bench-gpu.

All models are random, of the published shape (12 to 4 blocks, width 768, V = 50258, L = 1024), in
bf16; both samplers use the same weights and the same attention. It runs in stages. Each checks what
it times against its reference first and reports no speed if that fails, writes its own results
document as soon as it is done, and has a time limit; a stage that fails leaves the others' results.
"""

import argparse
import gc
import signal
import time
import traceback
from collections.abc import Callable

import torch
from gpu_setup import FULL, TINY, build
from gpu_stages import (
    bench_body,
    bench_curves,
    bench_sampler,
    bench_statistics,
    bench_train,
    check_body,
    check_kernels,
)
from rich.console import Console
from rich.table import Table

from stepimp.models.checkpoints import pick_attention
from stepimp.results import Run

LIMIT = 240  # seconds


def kernels(size, device, dtype, attn) -> list[dict]:
    """Both Triton kernels, and the statistics of all models in one pass."""
    models = build(size, device, dtype, attn)
    check_kernels(models, size, "triton")
    return bench_statistics(models, size, "triton")


def body(size, device, dtype, attn) -> list[dict]:
    """The deepest model's body, compiled and uncompiled."""
    model = build({**size, "depths": {"12b": size["depths"]["12b"]}}, device, dtype, attn)["12b"]
    check_body(model, size)
    return bench_body(model, size)


def sampler(size, device, dtype, attn) -> list[dict]:
    """The sampler against the published one and its own body, and what a schedule saves."""
    depths = {name: size["depths"][name] for name in ("12b", "4b")}
    models = build({**size, "depths": depths}, device, dtype, attn)
    check_body(models["12b"], size)
    rows = bench_sampler(models, size)
    show_compilation(models)
    return rows


def curves(size, device, dtype, attn) -> list[dict]:
    """`stepimp kl` at the paper's protocol."""
    models = build(size, device, dtype, attn)
    check_kernels(models, size, "triton")
    return bench_curves(models, size)


STAGES: dict[str, Callable[..., list[dict]]] = {
    "kernels": kernels,
    "body": body,
    "sampler": sampler,
    "curves": curves,
    "train": bench_train,
}


def show_compilation(models: dict):
    """How many shapes were compiled, and the seconds that their first calls took."""
    for name, model in models.items():
        first_seconds = getattr(model.replayed, "first_seconds", {})
        calls = ", ".join(f"{shape}: {spent:.0f} s" for shape, spent in first_seconds.items())
        print(f"{name}: {len(first_seconds)} shapes compiled ({calls})")


class TooLong(BaseException):
    """Not an Exception: torch.compile would report one raised inside it as a failed compilation."""


def show(rows: list[dict]):
    """The figures beside their goals."""
    table = Table("measure", "value", "goal", "")
    verdicts = {None: "", True: "reached", False: "missed"}
    for row in rows:
        verdict = verdicts[row["reached"]]
        table.add_row(row["measure"], f"{row['value']:.4g}", row["goal"], verdict)
    Console(width=100).print(table)


def run_stage(name: str, size: dict, device, attn: str, out: str, limit: int) -> dict:
    """One stage within its limit of seconds; returns its results document."""

    def too_long(number, frame):
        raise TooLong(f"over the limit of {limit} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(limit)
    try:
        params = {**size, "stage": name, "attn": attn, "seed": 0}
        run = Run(out, "bench-gpu", params, {"models": {}, "data": None}, device, "bfloat16")
        with torch.no_grad():
            return run.finish(STAGES[name](size, device, torch.bfloat16, attn))
    finally:
        signal.alarm(0)


def free_memory(device):
    """Frees a stage's models and CUDA graphs, so that the next one starts with all the memory."""
    gc.collect()
    if device.type == "cuda":
        torch._dynamo.reset()
        torch.cuda.empty_cache()


def main(arguments=None) -> list[dict]:
    """Returns the documents of the stages that succeeded; exits with 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attn", default="auto", help="as in the commands")
    parser.add_argument("--out", default="results", help="folder of the results documents")
    parser.add_argument("--only", default=",".join(STAGES), help="stages, separated by commas")
    limit = "seconds that a stage may take, compilation included"
    parser.add_argument("--limit", type=int, default=LIMIT, help=limit)
    tiny = "run all of it at no size worth measuring, on any device"
    parser.add_argument("--tiny", action="store_true", help=tiny)
    given = parser.parse_args(arguments)
    names = given.only.split(",")
    if unknown := set(names) - STAGES.keys():
        parser.error(f"unknown stages {', '.join(unknown)}: choose from {', '.join(STAGES)}")
    if not (given.tiny or torch.cuda.is_available()):
        raise SystemExit("bench_gpu needs a CUDA device with 80 GB of memory, and torch sees none.")
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    size = TINY if given.tiny else FULL
    attn = pick_attention(given.attn, device, torch.bfloat16)
    documents, failed = [], []
    for name in names:
        start = time.perf_counter()
        try:
            document = run_stage(name, size, device, attn, given.out, given.limit)
        # Whatever happened, the next stage gets its turn.
        except (Exception, SystemExit, TooLong) as error:
            traceback.print_exception(error)
            failed.append(name)
            continue
        finally:
            free_memory(device)
        show(document["rows"])
        print(f"{name}, {attn}: {time.perf_counter() - start:.0f} s -> {document['path']}")
        documents.append(document)
    if failed:
        raise SystemExit(f"Failed: {', '.join(failed)}.")
    return documents


if __name__ == "__main__":
    main()
