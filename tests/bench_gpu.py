"""The GPU path against its goals, on one CUDA device: python tests/bench_gpu.py, or make bench-gpu.

First the kernels and the replayed body are checked against their references; on a failure no speed
is reported. All models are random, of the published shape (12 to 4 blocks, width 768, V = 50258, L
= 1024), in bf16. Both samplers use the same weights and the same attention. Two figures are put
together from measured parts and say so: the published sampler's time, from a forward pass with full
probabilities and a draw over all of [B, L, V], and that of the curves at the paper's protocol, from
some of their times on one batch. Writes one results document."""

import argparse
import statistics
import time
from unittest import mock

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from stepimp.curves import measure
from stepimp.kernels.draw import project_and_draw
from stepimp.kernels.linear import project
from stepimp.kernels.statistics import vocabulary_statistics
from stepimp.models.checkpoints import fingerprint, pick_attention
from stepimp.models.cuda_graphs import BATCHES, FEWEST_QUERIES, compiled
from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.models.mdlm_config import MDLMConfig
from stepimp.noise import NoiseSchedule
from stepimp.results import Run
from stepimp.sampling import mdlm_sampler, sampler
from stepimp.schedules.schedule import Schedule, saved_flops

DEPTHS = {"12b": 12, "10b": 10, "8b": 8, "6b": 6, "4b": 4, "12b_seed2": 12}
FULL = dict(
    depths=DEPTHS,
    width=768,
    heads=12,
    vocab=50258,
    length=1024,
    batch=32,
    steps=1000,
    rows=16384,
    square=8192,
    times=5,
    repeats=3,
)
# To run through all of it where there is no GPU; its figures mean nothing.
TINY = dict(
    depths={"12b": 2, "4b": 1, "12b_seed2": 2},
    width=32,
    heads=2,
    vocab=70,
    length=12,
    batch=2,
    steps=8,
    rows=5,
    square=64,
    times=1,
    repeats=1,
)
PROTOCOL = dict(sequences=500, times=50)  # of the paper's Figures 5 and 12


def build(size: dict, device, dtype, attn: str) -> dict[str, MDLMForMaskedLM]:
    """Random models whose logits have about unit variance."""
    models = {}
    for seed, (name, blocks) in enumerate(size["depths"].items()):
        torch.manual_seed(seed)
        model = MDLMForMaskedLM(
            MDLMConfig(
                n_blocks=blocks,
                model_length=size["length"],
                hidden_dim=size["width"],
                n_heads=size["heads"],
                vocab_size=size["vocab"],
                noise="linear",
            )
        )
        torch.nn.init.normal_(model.backbone.output_layer.linear.weight, std=size["width"] ** -0.5)
        for block in model.backbone.blocks:
            torch.nn.init.normal_(block.adaLN_modulation.bias, std=0.3)
        model.set_attn_implementation(attn)
        model.fingerprint = fingerprint(model)
        models[name] = model.to(device, dtype).freeze()
    return models


def now(device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(device, repeats: int, **ways) -> dict[str, float]:
    """Median seconds of each way; they take turns, and a first round does not count."""
    spent = {name: [] for name in ways}
    for _ in range(1 + repeats):
        for name, way in ways.items():
            start = now(device)
            way()
            spent[name].append(now(device) - start)
    return {name: statistics.median(values[1:]) for name, values in spent.items()}


def extra_bytes(device, function) -> float:
    """The most memory that a call holds beyond what was there before."""
    if device.type != "cuda":
        return float("nan")
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    function()
    return float(torch.cuda.max_memory_allocated(device) - before)


def inputs(models: dict, size: dict, n: int):
    """n rows per model, their heads and targets."""
    device, dtype = models["12b"].device, models["12b"].dtype
    draw = torch.Generator(device).manual_seed(0)
    rows = [torch.randn(n, size["width"], generator=draw, device=device).to(dtype) for _ in models]
    targets = torch.randint(0, size["vocab"] - 1, (n,), generator=draw, device=device)
    return rows, [model.head() for model in models.values()], targets


def a_batch(model, size: dict):
    """z, t and positions as the engine gives them."""
    shape, device = (size["batch"], size["length"]), model.device
    z = torch.randint(0, model.vocab_size, shape, device=device)
    at = torch.randint(0, size["length"], (size["batch"], FEWEST_QUERIES), device=device)
    return z, torch.full((len(z),), 0.5, device=device, dtype=torch.float64), at


def body_of(model):
    return model.replayed or model.hidden


def check(models: dict, size: dict, impl: str):
    """Kernels and body against their references, at the benchmark's own sizes."""
    mask_id = models["12b"].mask_id
    rows, heads, targets = inputs(models, size, 67)
    found = vocabulary_statistics(rows, heads, targets, mask_id, impl=impl)
    exact = vocabulary_statistics(rows, heads, targets, mask_id, impl="reference")
    for name, one, right in zip(("ce", "kl", "entropy"), found, exact):
        require(
            f"{name} of the statistics",
            ((one - right).abs() / right.abs().clamp_min(0.1)).max().item(),
            1e-5,
        )
    samples, positions = np.arange(67), np.arange(67) % 5
    drawn, right = (
        project_and_draw(rows[0], heads[0], mask_id, 0, samples, positions, impl=i)
        for i in (impl, "reference")
    )
    require("share of other tokens drawn", (drawn != right).double().mean().item(), 0.02)
    batch = a_batch(models["12b"], size)
    eager = models["12b"].hidden(*batch).double()
    error = (
        body_of(models["12b"])(*batch) - eager
    ).square().mean().sqrt() / eager.square().mean().sqrt()
    require(
        "relative error of the replayed body", error.item(), 0.02
    )  # bf16 rounds to 0.4%, block after block


def require(what: str, error: float, most: float):
    print(f"{what}: {error:.1e}")
    if not error <= most:
        raise SystemExit(f"{what} is over {most}: something is wrong, and no speed is reported.")


def row(measure: str, value: float, goal: str = "", **details) -> dict:
    """goal: such as ">= 8"; empty for a figure without one."""
    reached = None
    if goal:
        sign, number = goal.split()
        reached = value >= float(number) if sign == ">=" else value <= float(number)
    return {"measure": measure, "value": value, "goal": goal, "reached": reached, **details}


def bench_body(model, size: dict) -> tuple[list[dict], float]:
    """The body's share of the matmul peak; also its seconds for a batch."""
    device, dtype, n = model.device, model.dtype, size["square"]
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    batch = a_batch(model, size)
    spent = seconds(
        device,
        size["repeats"],
        matmul=lambda: torch.mm(a, b),
        body=lambda: body_of(model)(*batch),
        eager=lambda: model.hidden(*batch),
    )
    forward, asked = model.flops(size["length"])
    flops = size["batch"] * (forward + FEWEST_QUERIES * (asked - 2 * size["width"] * size["vocab"]))
    peak, reached = 2 * n**3 / spent["matmul"], flops / spent["body"]
    return [
        row("matmul_peak_flops_per_second", peak),
        row("body_share_of_peak", reached / peak, ">= 0.45", seconds=spent["body"]),
        row("uncompiled_body_share_of_peak", flops / spent["eager"] / peak, seconds=spent["eager"]),
    ], spent["body"]


def warm_up(models, size: dict):
    """Compiles the shapes that the engine will ask for."""
    z, t, at = a_batch(models[0], size)
    for model in models:
        for rows in {min(size["batch"], one) for one in BATCHES}:
            for _ in range(3):  # compiled, recorded, replayed
                body_of(model)(z[:rows], t[:rows], at[:rows])


def run_engine(models: dict, plan: Schedule, size: dict) -> tuple[float, sampler.Counts]:
    device, counts = models["12b"].device, sampler.Counts()
    start = now(device)
    sampler.sample(
        models,
        plan,
        range(size["batch"]),
        size["length"],
        seed=0,
        batch_size=size["batch"],
        counts=counts,
    )
    return now(device) - start, counts


def published_seconds(model, size: dict) -> float:
    """A forward pass as often as the published sampler needs one, and a draw at every step."""
    device = model.device
    x = torch.randint(0, model.vocab_size - 1, (size["batch"], size["length"]), device=device)
    generators = [torch.Generator(device).manual_seed(i) for i in range(size["batch"])]
    p = mdlm_sampler.probabilities(model, x, 0.5, None)
    spent = seconds(
        device,
        size["repeats"],
        forward=lambda: mdlm_sampler.probabilities(model, x, 0.5, None),
        draw=lambda: mdlm_sampler.draw(p, 0.5, 1e-3, model.mask_id, generators),
    )
    forwards = sampler.expected_forwards(x.numel(), size["steps"])
    return forwards * spent["forward"] + size["steps"] * spent["draw"]


def bench_engine(models: dict, size: dict, body_seconds: float) -> list[dict]:
    """The engine against its own body, against the published sampler, and with a schedule."""
    pair = {name: models[name] for name in ("12b", "4b")}
    steps = size["steps"]
    heavy = Schedule.of(["12b"] * steps)
    light_ends = Schedule.of(
        ["4b"] * (steps // 8) + ["12b"] * (steps - 2 * (steps // 8)) + ["4b"] * (steps // 8)
    )
    warm_up(list(pair.values()), size)
    runs = [
        (run_engine(pair, heavy, size), run_engine(pair, light_ends, size))
        for _ in range(size["repeats"])
    ]
    spent = statistics.median(one[0] for one, _ in runs)
    saved = statistics.median(1 - two[0] / one[0] for one, two in runs)
    counts = runs[0][0][1]
    formula = saved_flops(light_ends, size["depths"], "12b")
    theirs = published_seconds(models["12b"], size)
    rows = [
        row(
            "engine_speedup_over_published",
            theirs / spent,
            ">= 8",
            seconds=spent,
            published_seconds=theirs,
        ),
        row(
            "body_share_of_engine",
            counts.batches * body_seconds / spent,
            ">= 0.8",
            forwards=counts.batches,
        ),
        row(
            "saving_over_formula_3",
            saved / formula,
            ">= 0.95",
            saved_seconds=saved,
            saved_flops=formula,
        ),
    ]
    if models["12b"].replayed:
        with mock.patch.object(models["12b"], "hidden", compiled(models["12b"].hidden)):
            theirs = published_seconds(models["12b"], size)
        rows.append(
            row("engine_speedup_over_published_compiled", theirs / spent, published_seconds=theirs)
        )
    return rows


def materialised(rows, heads, targets, mask_id):
    """What one writes first: all of [n, V] in fp32, a model at a time beside the heavy one."""
    log_h = project(rows[0], heads[0], mask_id).log_softmax(-1)
    p, found = log_h.exp(), []
    for x, head in zip(rows, heads):
        log_p = project(x, head, mask_id).log_softmax(-1)
        kl = torch.where(p > 0, p * (log_h - log_p), 0.0).sum(-1)
        found.append((-log_p.gather(1, targets[:, None])[:, 0], kl))
    return found, torch.where(p > 0, -p * log_h, 0.0).sum(-1)


def bench_statistics(models: dict, size: dict, impl: str) -> list[dict]:
    """All models at once against the bare projections and against full logits."""
    mask_id, device = models["12b"].mask_id, models["12b"].device
    rows, heads, targets = inputs(models, size, size["rows"])
    out = torch.empty(size["rows"], size["vocab"], device=device, dtype=heads[0][0].dtype)

    def bare():
        for x, (weight, _) in zip(rows, heads):
            torch.mm(x.to(weight.dtype), weight.T, out=out)

    def ours():
        vocabulary_statistics(rows, heads, targets, mask_id, impl=impl)

    spent = seconds(
        device,
        size["repeats"],
        bare=bare,
        ours=ours,
        full=lambda: materialised(rows, heads, targets, mask_id),
    )
    held = {
        "ours": extra_bytes(device, ours),
        "full": extra_bytes(device, lambda: materialised(rows, heads, targets, mask_id)),
    }
    return [
        row(
            "statistics_over_bare_projection",
            spent["ours"] / spent["bare"],
            "<= 1.5",
            seconds=spent["ours"],
        ),
        row(
            "statistics_speedup_over_full_logits",
            spent["full"] / spent["ours"],
            ">= 3",
            seconds=spent["full"],
        ),
        row("statistics_extra_bytes", held["ours"], "<= 1e9", full_logits_extra_bytes=held["full"]),
    ]


def bench_curves(models: dict, size: dict) -> list[dict]:
    """`stepimp kl` at the paper's protocol, extrapolated from one batch at a few of the times."""
    draw = torch.Generator().manual_seed(0)
    shape = size["batch"], size["length"]
    tokens, uniforms = (
        torch.randint(0, size["vocab"] - 1, shape, generator=draw),
        torch.rand(shape, generator=draw),
    )
    times = (np.arange(size["times"]) + 0.5) / size["times"]  # the mean over the grid of t
    (spent,) = seconds(
        models["12b"].device,
        size["repeats"],
        chunk=lambda: measure.measure_chunk(
            models, tokens, uniforms, times, NoiseSchedule("linear")
        ),
    ).values()
    whole = spent / (size["batch"] * size["times"]) * PROTOCOL["sequences"] * PROTOCOL["times"]
    return [
        row(
            "kl_protocol_minutes_extrapolated",
            whole / 60,
            "<= 60",
            measured_seconds=spent,
            measured_times=size["times"],
            measured_sequences=size["batch"],
        )
    ]


def show(rows: list[dict]):
    table = Table("measure", "value", "goal", "")
    for one in rows:
        table.add_row(
            one["measure"],
            f"{one['value']:.4g}",
            one["goal"],
            {None: "", True: "reached", False: "missed"}[one["reached"]],
        )
    Console(width=100).print(table)


@torch.no_grad()
def main(arguments=None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attn", default="auto", help="as in the commands")
    parser.add_argument("--out", default="results", help="folder of the results document")
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="run through all of it at no size worth measuring, on any device",
    )
    given = parser.parse_args(arguments)
    if not (given.tiny or torch.cuda.is_available()):
        raise SystemExit(
            "bench_gpu needs a CUDA device with about 60 GB of free memory, and torch sees none."
        )
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    size, dtype = TINY if given.tiny else FULL, torch.bfloat16
    attn, impl = pick_attention(given.attn, device, dtype), "triton"
    models = build(size, device, dtype, attn)
    prints = {"models": {name: model.fingerprint for name, model in models.items()}, "data": None}
    run = Run(given.out, "bench-gpu", {**size, "attn": attn, "seed": 0}, prints, device, "bfloat16")
    check(models, size, impl)
    rows, body_seconds = bench_body(models["12b"], size)
    rows += bench_engine(models, size, body_seconds)
    rows += bench_statistics(models, size, impl)
    rows += bench_curves(models, size)
    show(rows)
    document = run.finish(rows)
    print(f"-> {document['path']}")
    return document


if __name__ == "__main__":
    main()
