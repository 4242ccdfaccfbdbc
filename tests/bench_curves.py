"""Time and memory of the curves and of the optimiser, on one CPU thread: python tests/bench_curves.py.

First the statistics are checked against their float64 twin; on a failure no speed is reported. All ways run in one
process and take turns, and their medians are compared; memory is measured in a fresh process. Seconds are processor
seconds of the one thread, so that other load on the machine distorts the ratios little. The plain way runs on torch's
own operators, the engine on its faster dense layers (stepimp/kernels/linear.py).
"""

import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from unittest import mock

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench_sampler import plain_linear
from stepimp import curves, mdlm
from stepimp.bootstrap import resampled_means
from stepimp.frontier import Frontier
from stepimp.kernels import reference, vocabulary_statistics
from stepimp.kernels.linear import linear
from stepimp.mdlm import MDLMConfig, MDLMForMaskedLM
from stepimp.noise import NoiseSchedule, corrupt
from stepimp.recommend import step_costs

VOCAB, WIDTH, ROWS, MODELS = 50257, 768, 1024, 6
LENGTH, SEQUENCES = 128, 8
DEPTHS = {"12b": 12, "10b": 10, "8b": 8, "6b": 6, "4b": 4, "12b_seed2": 12}
T = 0.5  # half of the positions masked: nearly the mean over the grid of t


def check():
    """The statistics against the float64 reference, at the benchmark's vocabulary and a few ragged rows."""
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
    heads = [(torch.randn(VOCAB, WIDTH, generator=draw).mul_(WIDTH**-0.5), torch.zeros(VOCAB)) for _ in range(MODELS)]
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
    """What the statistics add to the most memory this process ever held; in a fresh process, before anything larger."""
    rows, heads, targets = projections(ROWS)
    vocabulary_statistics([x[:1] for x in rows], heads, targets[:1], VOCAB - 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    vocabulary_statistics(rows, heads, targets, VOCAB - 1)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


def bench_statistics(table: Table):
    """The vocabulary pass against one plain matrix product per model, and its memory against holding the logits."""
    rows, heads, targets = projections(ROWS)

    def bare():
        for x, head in zip(rows, heads):
            linear(x, *head)

    def ours():
        vocabulary_statistics(rows, heads, targets, VOCAB - 1)

    seconds = interleaved(3, bare=bare, ours=ours)
    ratio = seconds["ours"] / seconds["bare"]
    table.add_row(f"statistics, {MODELS} models, {ROWS} rows: s", f"{seconds['ours']:.2f}", f"matrix products {seconds['bare']:.2f}",
                  f"{ratio:.2f}", "<= 1.3")  # fmt: skip
    fresh = subprocess.run([sys.executable, __file__, "--memory"], capture_output=True, text=True, check=True)
    whole = f"two models' logits {2 * 4 * ROWS * VOCAB / 1e6:.0f}"
    table.add_row("  extra memory: MB", f"{int(fresh.stdout) / 1e6:.0f}", whole, "", "<= 100")


def build(blocks: int, seed: int) -> MDLMForMaskedLM:
    torch.manual_seed(seed)
    model = MDLMForMaskedLM(
        MDLMConfig(n_blocks=blocks, model_length=LENGTH, hidden_dim=WIDTH, vocab_size=VOCAB, noise="linear")
    )
    torch.nn.init.normal_(model.backbone.output_layer.linear.weight, std=WIDTH**-0.5)
    for block in model.backbone.blocks:
        torch.nn.init.normal_(block.adaLN_modulation.bias, std=0.3)
    return model.freeze()


def plain_kl(heavy, light, z):
    """What one writes first for formula (6): full log-probabilities of both models, averaged where z is masked."""
    log_h, log_l = (model(z).logits.log_softmax(-1) for model in (heavy, light))
    kl = (log_h.exp() * torch.where(log_h.isfinite(), log_h - log_l, 0.0)).sum(-1)
    return torch.where(z == heavy.mask_id, kl, 0.0).sum(1)


def plain_loss(heavy, light, tokens, z):
    """The same for formula (5)."""
    log_h, log_l = (model(z).logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0] for model in (heavy, light))
    return torch.where(z == heavy.mask_id, log_h - log_l, 0.0).sum(1)


def bench_pairs(table: Table):
    """All of four light models and a baseline at once against pair by pair."""
    models = {name: build(blocks, seed) for seed, (name, blocks) in enumerate(DEPTHS.items())}
    heavy, noise, draw = models["12b"], NoiseSchedule("linear"), torch.Generator().manual_seed(0)
    tokens = torch.randint(0, VOCAB - 1, (SEQUENCES, LENGTH), generator=draw)
    uniforms = torch.rand(SEQUENCES, LENGTH, generator=draw)
    z, found = corrupt(tokens, uniforms, T, heavy.mask_id, noise), {}

    def together():
        found["ours"] = curves.measure_chunk(models, tokens, uniforms, [T], noise)

    @mock.patch.object(mdlm, "linear", plain_linear)
    def kl():
        found["kl"] = {name: plain_kl(heavy, models[name], z) for name in list(models)[1:]}

    @mock.patch.object(mdlm, "linear", plain_linear)
    def loss():
        found["loss"] = {name: plain_loss(heavy, models[name], tokens, z) for name in list(models)[1:-1]}

    def bodies():
        for model in models.values():
            model.hidden(z)

    seconds = interleaved(2, ours=together, kl=kl, loss=loss, bodies=bodies)
    for name, values in found["kl"].items():
        np.testing.assert_allclose(found["ours"]["kl"][name][0], values, rtol=1e-3)
    for name, values in found["loss"].items():
        ours = found["ours"]["ce"][name][0] - found["ours"]["ce"]["12b"][0]
        np.testing.assert_allclose(ours, values, rtol=1e-3, atol=1e-2)
    print(f"{SEQUENCES} x {LENGTH} tokens at t = {T}; all six bodies once, without projection: {seconds['bodies']:.1f} s")
    both = seconds["kl"] + seconds["loss"]
    for against, plain in (("pair by pair, KL", seconds["kl"]), ("pair by pair, KL, then losses", both)):
        table.add_row("KL and losses of 4 light models and a baseline: s", f"{seconds['ours']:.1f}", f"{against} {plain:.1f}",
                      f"{plain / seconds['ours']:.2f} x", ">= 4 x")  # fmt: skip


def bench_optimiser(table: Table):
    """Curves of five models to the exact optimum at T = 1000."""
    gains = {"12b": 0, "10b": 1, "8b": 2, "6b": 3, "4b": 4}
    times, draw = curves.time_grid(20), np.random.default_rng(0)
    means = {model: resampled_means(gain * draw.random((20, 200)), 0)[:, :1] for model, gain in gains.items()}
    for segments in (3, 5):

        def solve():
            frontier = Frontier(step_costs(means, times, 1000), gains, segments)
            frontier.best(1000)

        seconds = interleaved(3, solve=solve)["solve"]
        table.add_row(f"optimum, 5 models, T = 1000, {segments} segments: s", f"{seconds:.2f}", "", "", "< 1")


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    if "--memory" in sys.argv:
        return print_extra_bytes()
    check()
    table = Table("", "stepimp", "against", "ratio", "goal", title="Curves, processor seconds of one thread")
    bench_optimiser(table)
    bench_statistics(table)
    bench_pairs(table)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
