"""The sampler against the published way of sampling, on one CPU thread: python
tests/bench_sampler.py [--full].

Both run the same weights (12 blocks, width 768, V = 50258, random), the same T and L, in one
process. First both are checked against an exactly enumerated distribution; on a failure no speed is
reported. Seconds are processor seconds of the one thread, so that other load on the machine
distorts the ratios little. The published sampler runs the body as one writes it first
(tests/plain.py); the engine's faster body is part of what is compared.

The published sampler's time is put together from the cost of its two parts, each the median of
several runs here: a forward pass with full probabilities, run as often as its own rule asks for
(counted by running its unmasking), and a draw over all of [B, L, V] at every step. --full runs it
out instead, which takes most of an hour."""

import argparse
import copy
import statistics
import time

import torch
from fakes import FakeDenoiser, chi_square, observed_and_expected
from plain import PlainDenoiser
from rich.console import Console
from rich.table import Table

from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.models.mdlm_config import MDLMConfig
from stepimp.sampling import mdlm_sampler, sampler
from stepimp.schedules.schedule import Schedule, parse, saved_flops

LENGTH, BATCH, SLICES = 64, 4, 8
SCHEDULED = 16  # samples per schedule: of four, the share of light events would be off by a tenth
cpu = time.process_time


def check_distributions():
    """Both samplers draw from the enumerated distribution of a small denoiser."""
    denoisers, schedule = {"12b": FakeDenoiser(seed=1)}, parse("H4", "12b")

    def published_way(*arguments, **options):
        return mdlm_sampler.sample(*arguments, rounding=None, **options)

    for name, draw in (("engine", sampler.sample), ("published", published_way)):
        p = chi_square(*observed_and_expected(denoisers, schedule, 3, 4000, draw=draw))
        if p < 1e-3:
            raise SystemExit(
                f"The {name} sampler is wrong (chi-square p = {p:.1e}): no speed is reported."
            )
        print(f"{name}: chi-square p = {p:.2f} against the enumerated distribution")


def build(blocks: int, dtype: torch.dtype) -> MDLMForMaskedLM:
    torch.manual_seed(blocks)
    model = MDLMForMaskedLM(MDLMConfig(n_blocks=blocks, model_length=LENGTH))
    torch.nn.init.normal_(model.backbone.output_layer.linear.weight, std=0.02)
    for block in model.backbone.blocks:
        torch.nn.init.normal_(block.adaLN_modulation.bias, std=0.3)
    return model.to(dtype).freeze()


def seconds(function, *arguments):
    start = cpu()
    function(*arguments)
    return cpu() - start


def taking_turns(denoisers: dict, plans: dict[str, Schedule], samples: int = BATCH):
    """Draws samples with each schedule, a slice of the steps in turn, so that a slow spell of the
    machine affects all.

    Returns the seconds of each plan, and of the bare body for the forward passes of the first,
    timed in every slice."""
    first, *_ = plans
    steps, mask_id = plans[first].steps, denoisers["12b"].mask_id
    states = {name: sampler.begin(range(samples), LENGTH, steps, mask_id, seed=0) for name in plans}
    spent, body = dict.fromkeys(plans, 0.0), 0.0
    for stop in [round(steps * (1 - k / SLICES)) for k in range(1, SLICES + 1)]:
        counts = sampler.Counts()
        for name, state in states.items():
            mine = counts if name == first else sampler.Counts()
            advance = sampler.advance(
                state, denoisers, plans[name], stop, seed=0, batch_size=BATCH, counts=mine
            )
            spent[name] += seconds(list, advance)
        z = states[first].z[:BATCH]
        body += (
            counts.forwards.total()
            / BATCH
            * statistics.median(seconds(denoisers["12b"].hidden, z) for _ in range(3))
        )
    return spent, body


def published_forwards(steps: int) -> int:
    """How often the published sampler runs its model. Unmasking does not depend on the logits, so
    that a fake model gives the number.
    """
    counts = sampler.Counts()
    fake = FakeDenoiser(vocab=1, length=1)
    fake.max_length, fake.table = LENGTH, torch.zeros(1, LENGTH, 2, dtype=torch.float64)
    fake.hidden = lambda z, t=None, at=None: torch.tensor(
        [0.0, -torch.inf], dtype=torch.float64
    ).expand(*z.shape, 2)
    mdlm_sampler.sample(
        {"12b": fake},
        parse(f"H{steps}", "12b"),
        range(BATCH),
        LENGTH,
        seed=0,
        rounding=None,
        counts=counts,
    )
    return counts.batches


def published_seconds(model, steps: int, full: bool) -> float:
    if full:
        run = lambda: mdlm_sampler.sample(  # noqa: E731
            {"12b": model}, parse(f"H{steps}", "12b"), range(BATCH), LENGTH, seed=0, rounding=None
        )
        return seconds(run)
    x = torch.randint(0, model.vocab_size - 1, (BATCH, LENGTH))
    forward = statistics.median(
        seconds(mdlm_sampler.probabilities, model, x, 0.5, None) for _ in range(3)
    )
    p = mdlm_sampler.probabilities(model, x, 0.5, None)
    generators = [torch.Generator().manual_seed(i) for i in range(BATCH)]
    draw = statistics.median(
        seconds(mdlm_sampler.draw, p, 0.5, 1e-3, model.mask_id, generators) for _ in range(3)
    )
    return published_forwards(steps) * forward + steps * draw


def bench_saving(denoisers: dict):
    """Seconds that a schedule saves, against formula (3)."""
    scheduled = parse("L125,H750,L125", "12b", "4b")
    spent, _ = taking_turns(
        denoisers, {"heavy": parse("H1000", "12b"), "scheduled": scheduled}, SCHEDULED
    )
    saved, formula = (
        1 - spent["scheduled"] / spent["heavy"],
        saved_flops(scheduled, {"12b": 12, "4b": 4}, "12b"),
    )
    print(
        f"L125,H750,L125 saves {saved:.4f} of the time ({SCHEDULED} samples, bf16); formula (3) "
        f"says {formula:.4f}: "
        f"ratio {saved / formula:.2f} (the paper's: 0.43)"
    )


def bench_small(rounds: int = 3):
    """bf16 against fp32 for a model as small as the bundled ones: width 64, 256 bytes."""
    torch.manual_seed(0)
    shape = dict(vocab_size=260, model_length=256, hidden_dim=64, cond_dim=4, n_heads=2)
    model = MDLMForMaskedLM(MDLMConfig(n_blocks=12, **shape))
    models = {
        dtype: copy.deepcopy(model).to(dtype).freeze() for dtype in (torch.float32, torch.bfloat16)
    }
    spent = {dtype: [] for dtype in models}
    for _ in range(rounds):
        for dtype, denoiser in models.items():
            arguments = {"12b": denoiser}, parse("H64", "12b"), range(BATCH), 256
            spent[dtype].append(seconds(lambda: sampler.sample(*arguments, seed=0)))  # noqa: B023
    slow, fast = (statistics.median(times) for times in spent.values())
    fused = "one function" if models[torch.bfloat16].trunk else "torch's operators"
    print(f"width 64, L=256: bf16 ({fused}) is {slow / fast:.2f} times as fast as fp32")


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--full",
        action="store_true",
        help="run the published sampler out instead of composing its time",
    )
    full = parser.parse_args().full
    torch.set_num_threads(1)
    check_distributions()
    bench_small()
    table = Table(
        "T",
        "dtype",
        "engine s",
        "published s",
        "ratio",
        "vs fp32 published",
        "of the body's throughput",
        title=f"L={LENGTH}, batch {BATCH}, 12 blocks, one thread",
    )
    published_fp32 = {}
    for dtype in (torch.float32, torch.bfloat16):
        models = {"12b": build(12, dtype), "4b": build(4, dtype)}
        for steps in (128, 1000):
            spent, body = taking_turns(models, {"heavy": parse(f"H{steps}", "12b")})
            reference = published_seconds(PlainDenoiser(models["12b"]), steps, full)
            published_fp32.setdefault(steps, reference)
            own = spent["heavy"]
            table.add_row(
                str(steps),
                str(dtype)[6:],
                f"{own:.1f}",
                f"{reference:.1f}",
                f"{reference / own:.2f}",
                f"{published_fp32[steps] / own:.2f}",
                f"{body / own:.2f}",
            )
    bench_saving(models)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
