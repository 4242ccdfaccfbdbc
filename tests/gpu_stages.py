"""The stages of the GPU benchmark: each builds its models and returns rows with goals.

Two figures are put together from measured parts: the published sampler's time, from a forward pass
with full probabilities and a draw over all of [B, L, V], and that of the curves at the paper's
protocol, from some of its times on one batch.
"""

import statistics
from unittest import mock

import numpy as np
import torch
from gpu_setup import a_batch, body_of, build, extra_bytes, inputs, now, require, row, seconds

from stepimp.curves import measure
from stepimp.kernels.draw import project_and_draw
from stepimp.kernels.linear import project
from stepimp.kernels.statistics import vocabulary_statistics
from stepimp.models.cuda_graphs import BATCHES, FEWEST_QUERIES, InFewShapes, compiled
from stepimp.noise import NoiseSchedule
from stepimp.sampling import mdlm_sampler, sampler
from stepimp.schedules.passes import expected_forwards
from stepimp.schedules.schedule import Schedule, saved_flops
from stepimp.training.objective import nelbo_loss

PROTOCOL = dict(sequences=500, times=50)  # of the paper's Figures 5 and 12


def check_kernels(models: dict, size: dict, impl: str):
    """The kernels against their references, at the benchmark's own sizes."""
    mask_id = models["12b"].mask_id
    rows, heads, targets = inputs(models, size, 67)
    ours = vocabulary_statistics(rows, heads, targets, mask_id, impl=impl)
    exact = vocabulary_statistics(rows, heads, targets, mask_id, impl="reference")
    for name, own, right in zip(("ce", "kl", "entropy"), ours, exact):
        require(
            f"{name} of the statistics",
            ((own - right).abs() / right.abs().clamp_min(0.1)).max().item(),
            1e-5,
        )
    samples, positions = np.arange(67), np.arange(67) % 5
    drawn, right = (
        project_and_draw(rows[0], heads[0], mask_id, 0, samples, positions, impl=i)
        for i in (impl, "reference")
    )
    require("share of other tokens drawn", (drawn != right).double().mean().item(), 0.02)


def check_body(model, size: dict):
    """The replayed body against the eager one; bf16 rounds to 0.4%, block after block."""
    batch = a_batch(model, size)
    eager = model.hidden(*batch).double()
    difference = (body_of(model)(*batch) - eager).square().mean().sqrt()
    require(
        "relative error of the replayed body",
        (difference / eager.square().mean().sqrt()).item(),
        0.02,
    )


def bench_body(model, size: dict) -> list[dict]:
    """The body's share of the matmul peak."""
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
    ]


def warm_up(models, size: dict):
    """Compiles the shapes that the sampler will ask for."""
    z, t, at = a_batch(models[0], size)
    for model in models:
        for rows in {min(size["batch"], batch) for batch in BATCHES}:
            for _ in range(3):  # compiled, recorded, replayed
                body_of(model)(z[:rows], t[:rows], at[:rows])


def timed_run(models: dict, plan: Schedule, size: dict) -> tuple[float, sampler.Counts]:
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
    forwards = expected_forwards(x.numel(), size["steps"])
    return forwards * spent["forward"] + size["steps"] * spent["draw"]


def bench_sampler(models: dict, size: dict) -> list[dict]:
    """The sampler against its own body, against the published sampler, and with a schedule."""
    pair = {name: models[name] for name in ("12b", "4b")}
    steps = size["steps"]
    heavy = Schedule.of(["12b"] * steps)
    light_ends = Schedule.of(
        ["4b"] * (steps // 8) + ["12b"] * (steps - 2 * (steps // 8)) + ["4b"] * (steps // 8)
    )
    warm_up(list(pair.values()), size)
    batch = a_batch(models["12b"], size)
    body_seconds = seconds(
        models["12b"].device, size["repeats"], body=lambda: body_of(models["12b"])(*batch)
    )["body"]
    runs = [
        (timed_run(pair, heavy, size), timed_run(pair, light_ends, size))
        for _ in range(size["repeats"])
    ]
    spent = statistics.median(heavy_run[0] for heavy_run, _ in runs)
    saved = statistics.median(1 - light_run[0] / heavy_run[0] for heavy_run, light_run in runs)
    counts = runs[0][0][1]
    formula = saved_flops(light_ends, size["depths"], "12b")
    theirs = published_seconds(models["12b"], size)
    rows = [
        row(
            "sampler_speedup_over_published",
            theirs / spent,
            ">= 8",
            seconds=spent,
            published_seconds=theirs,
        ),
        row(
            "body_share_of_sampler",
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
    if isinstance(models["12b"].replayed, InFewShapes):
        with mock.patch.object(models["12b"], "hidden", compiled(models["12b"]._hidden)):
            theirs = published_seconds(models["12b"], size)
        rows.append(
            row("sampler_speedup_over_published_compiled", theirs / spent, published_seconds=theirs)
        )
    return rows


def materialised(rows, heads, targets, mask_id):
    """The plain way: all of [n, V] in fp32, a model at a time beside the heavy one."""
    log_h = project(rows[0], heads[0], mask_id).log_softmax(-1)
    p, statistics_by_model = log_h.exp(), []
    for x, head in zip(rows, heads):
        log_p = project(x, head, mask_id).log_softmax(-1)
        kl = torch.where(p > 0, p * (log_h - log_p), 0.0).sum(-1)
        statistics_by_model.append((-log_p.gather(1, targets[:, None])[:, 0], kl))
    return statistics_by_model, torch.where(p > 0, -p * log_h, 0.0).sum(-1)


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


def bench_train(size: dict, device, dtype, attn: str) -> list[dict]:
    """A training step of the deepest model, compiled whole, against the matmul peak."""
    deepest = {**size, "depths": {"12b": size["depths"]["12b"]}}
    model = build(deepest, device, torch.float32, attn, frozen=False)["12b"].train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    step = torch.compile(model) if device.type == "cuda" else model
    draw = torch.Generator(device).manual_seed(0)
    shape = size["batch"], size["length"]
    x = torch.randint(0, size["vocab"] - 1, shape, generator=draw, device=device)
    uniforms = torch.rand(shape, generator=draw, device=device)
    t = torch.full((shape[0],), 0.5, device=device)

    def train():
        with torch.enable_grad(), torch.autocast(device.type, dtype):
            loss = nelbo_loss(model, x, t, uniforms, step)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    n = size["square"]
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    spent = seconds(device, size["repeats"], matmul=lambda: torch.mm(a, b), train=train)
    forward, asked = model.flops(size["length"])
    masked = int((uniforms < t[:, None]).sum())
    # The last block and the head run at the masked positions; backward costs twice the forward.
    flops = 3 * (size["batch"] * forward + masked * asked)
    peak = 2 * n**3 / spent["matmul"]
    return [
        row(
            "training_share_of_peak",
            flops / spent["train"] / peak,
            ">= 0.4",
            seconds=spent["train"],
            tokens_per_second=x.numel() / spent["train"],
        )
    ]
