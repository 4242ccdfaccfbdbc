"""Time and memory of the curves and of the optimiser, on one CPU thread: python
tests/bench_curves.py.

First the statistics are checked against their float64 twin; on a failure no speed is reported. All
ways run in one process and take turns, and their medians are compared; memory is measured in a
fresh process. Seconds are processor seconds of the one thread, so that other load on the machine
distorts the ratios little. The plain way runs bodies as one writes them first (tests/plain.py); the
engine's faster ones are part of what is compared."""

import functools
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict

import numpy as np
import torch
from plain import PlainDenoiser
from rich.console import Console
from rich.table import Table

from stepimp.curves import measure
from stepimp.intervals import resampled_means
from stepimp.kernels import reference
from stepimp.kernels.linear import linear
from stepimp.kernels.statistics import vocabulary_statistics
from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.models.mdlm_config import MDLMConfig
from stepimp.noise import NoiseSchedule, corrupt
from stepimp.schedules.cheapest import cheapest
from stepimp.schedules.costs import step_costs
from stepimp.schedules.frontier import Frontier

VOCAB, WIDTH, ROWS, MODELS = 50257, 768, 512, 6
LENGTH, SEQUENCES = 128, 4
DEPTHS = {"12b": 12, "10b": 10, "8b": 8, "6b": 6, "4b": 4, "12b_seed2": 12}
TIMES = (0.15, 0.4, 0.65, 0.9)  # their mean is that of the 20 times of `stepimp kl`
PLAIN_TIME = 0.4  # what the plain ways cost does not depend on the time


def check():
    """The statistics against the float64 reference, at the benchmark's vocabulary and a few ragged
    rows.
    """
    rows, heads, targets = projections(13)
    found = vocabulary_statistics(rows, heads, targets, VOCAB - 1)
    wanted = reference.vocabulary_statistics(rows, heads, targets, VOCAB - 1)
    for name, one, exact in zip(("ce", "kl", "entropy"), found, wanted):
        error = ((one - exact).abs() / exact.abs().clamp_min(1e-2)).max().item()
        print(f"{name}: relative error {error:.1e} against float64")
        if not error < 1e-5:
            raise SystemExit(f"The statistics are wrong in {name}: no speed is reported.")


def projections(n: int):
    """Rows, heads and targets of random models at full size."""
    draw = torch.Generator().manual_seed(0)
    heads = [
        (torch.randn(VOCAB, WIDTH, generator=draw).mul_(WIDTH**-0.5), torch.zeros(VOCAB))
        for _ in range(MODELS)
    ]
    rows = [torch.randn(n, WIDTH, generator=draw) for _ in range(MODELS)]
    return rows, heads, torch.randint(0, VOCAB - 1, (n,), generator=draw)


def interleaved(repeats: int, **ways) -> dict[str, float]:
    """Median processor seconds of each way; they take turns."""
    spent = defaultdict(list)
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.process_time()
            way()
            spent[name].append(time.process_time() - start)
    return {name: statistics.median(seconds) for name, seconds in spent.items()}


def print_extra_bytes():
    """What the statistics add to the most memory this process ever held; in a fresh process, before
    anything larger.
    """
    rows, heads, targets = projections(ROWS)
    vocabulary_statistics([x[:1] for x in rows], heads, targets[:1], VOCAB - 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    vocabulary_statistics(rows, heads, targets, VOCAB - 1)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


def bench_statistics(table: Table):
    """The vocabulary pass against one plain matrix product per model, and its memory against
    holding the logits.
    """
    rows, heads, targets = projections(ROWS)

    def bare():
        for x, head in zip(rows, heads):
            linear(x, *head)

    def ours():
        vocabulary_statistics(rows, heads, targets, VOCAB - 1)

    seconds = interleaved(3, bare=bare, ours=ours)
    ratio = seconds["ours"] / seconds["bare"]
    table.add_row(
        f"statistics, {MODELS} models, {ROWS} rows: s",
        f"{seconds['ours']:.2f}",
        f"matrix products {seconds['bare']:.2f}",
        f"{ratio:.2f}",
        "<= 1.3",
    )
    fresh = subprocess.run(
        [sys.executable, __file__, "--memory"], capture_output=True, text=True, check=True
    )
    whole = f"two models' logits {2 * 4 * ROWS * VOCAB / 1e6:.0f}"
    table.add_row("  extra memory: MB", f"{int(fresh.stdout) / 1e6:.0f}", whole, "", "<= 100")


def build(blocks: int, seed: int) -> MDLMForMaskedLM:
    torch.manual_seed(seed)
    model = MDLMForMaskedLM(
        MDLMConfig(
            n_blocks=blocks, model_length=LENGTH, hidden_dim=WIDTH, vocab_size=VOCAB, noise="linear"
        )
    )
    torch.nn.init.normal_(model.backbone.output_layer.linear.weight, std=WIDTH**-0.5)
    for block in model.backbone.blocks:
        torch.nn.init.normal_(block.adaLN_modulation.bias, std=0.3)
    return model.freeze()


def log_probabilities(model, z):
    """Of all tokens at all positions, [B, L, V]."""
    return model.logits(model.hidden(z)).log_softmax(-1)


def masked_kl(log_h, log_l, masked):
    """What one writes first for formula (6): [B] sums over the masked positions."""
    kl = (log_h.exp() * torch.where(log_h.isfinite(), log_h - log_l, 0.0)).sum(-1)
    return torch.where(masked, kl, 0.0).sum(1)


def masked_loss(log_h, log_l, masked, tokens):
    """The same for formula (5)."""
    ce_h, ce_l = (-log_p.gather(-1, tokens[..., None])[..., 0] for log_p in (log_h, log_l))
    return torch.where(masked, ce_l - ce_h, 0.0).sum(1)


def bench_pairs(table: Table):
    """All of four light models and a baseline at once, over the times of a curve, against pair by
    pair.
    """
    models = {name: build(blocks, seed) for seed, (name, blocks) in enumerate(DEPTHS.items())}
    plain = {name: PlainDenoiser(model) for name, model in models.items()}
    mask_id, noise, draw = (
        models["12b"].mask_id,
        NoiseSchedule("linear"),
        torch.Generator().manual_seed(0),
    )
    tokens = torch.randint(0, VOCAB - 1, (SEQUENCES, LENGTH), generator=draw)
    uniforms = torch.rand(SEQUENCES, LENGTH, generator=draw)
    _, *others = models

    def together(t):
        return measure.measure_chunk(models, tokens, uniforms, [t], noise)

    def pair(name, z):
        return [log_probabilities(plain[one], z) for one in ("12b", name)]

    def kl(z, masked):
        return {name: masked_kl(*pair(name, z), masked) for name in others}

    def losses(z, masked):
        return {name: masked_loss(*pair(name, z), masked, tokens) for name in others[:-1]}

    def both(z, masked):
        for name in others:
            log_p = pair(name, z)
            masked_kl(*log_p, masked), masked_loss(*log_p, masked, tokens)

    spent = defaultdict(list)

    def timed(way, *arguments):
        start = time.process_time()
        result = way(*arguments)
        spent[way.__name__].append(time.process_time() - start)
        return result

    for t in TIMES:
        ours = timed(together, t)
        if t == PLAIN_TIME:
            z = corrupt(tokens, uniforms, t, mask_id, noise)
            found = timed(kl, z, z == mask_id), timed(losses, z, z == mask_id)
            timed(both, z, z == mask_id)
            check_pairs(ours, *found)
    each = {way: statistics.mean(seconds) for way, seconds in spent.items()}
    ways = {
        "KL alone": each["kl"],
        "KL and losses from the same logits": each["both"],
        "KL, then losses": each["kl"] + each["losses"],
    }
    for way, seconds in ways.items():
        table.add_row(
            "4 light models and a baseline: s per t",
            f"{each['together']:.1f}",
            f"pair by pair, {way} {seconds:.1f}",
            f"{seconds / each['together']:.2f} x",
            ">= 4 x",
        )


def check_pairs(ours: dict, kl: dict, losses: dict):
    """Both ways found the same."""
    for name, values in kl.items():
        np.testing.assert_allclose(ours["kl"][name][0], values, rtol=1e-3)
    for name, values in losses.items():
        np.testing.assert_allclose(
            ours["ce"][name][0] - ours["ce"]["12b"][0], values, rtol=1e-3, atol=1e-2
        )


def bench_optimiser(table: Table):
    """Curves of five models to the exact optimum: the whole frontier at T = 1000, one budget at
    T = 10,000.
    """
    gains = {"12b": 0, "10b": 1, "8b": 2, "6b": 3, "4b": 4}
    times, draw = measure.time_grid(20), np.random.default_rng(0)
    means = {
        model: resampled_means(gain * draw.random((20, 200)), 0)[:, :1]
        for model, gain in gains.items()
    }

    def solve(segments: int):
        Frontier(step_costs(means, times, 1000), gains, segments).best(1000)

    def solve_one():
        costs = step_costs(means, times, 10_000)
        cheapest(costs, gains, 8, 1, least=10_000, most=40_000)

    seconds = interleaved(1, solve=solve_one)["solve"]
    title = "optimum at one budget, 5 models, T = 10,000, 8 segments: s"
    table.add_row(title, f"{seconds:.2f}", "", "", "< 3")
    for segments in (3, 5):
        seconds = interleaved(3, solve=functools.partial(solve, segments))["solve"]
        table.add_row(
            f"optimum, 5 models, T = 1000, {segments} segments: s", f"{seconds:.2f}", "", "", "< 1"
        )


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    if "--memory" in sys.argv:
        return print_extra_bytes()
    check()
    table = Table(
        "", "stepimp", "against", "ratio", "goal", title="Curves, processor seconds of one thread"
    )
    bench_optimiser(table)
    bench_statistics(table)
    bench_pairs(table)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
