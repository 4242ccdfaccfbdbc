"""Where sampling time goes, and how much of the saved FLOPs a schedule turns into saved seconds."""

import statistics
from collections import defaultdict

import torch

from stepimp.sampling import mdlm_sampler, sampler
from stepimp.sampling.cost import Stopwatch, exact_flops
from stepimp.schedules.schedule import Schedule, sandwich, saved_flops

PARTS = ("body", "projection", "draw", "rest")


@torch.no_grad()
def run(denoisers: dict, schedule: Schedule, samples: int, length: int, seed: int, batch_size: int):
    """Draws the samples once: (seconds in all, seconds by part, counts)."""
    first = denoisers[schedule.models[0]]
    device = first.head()[0].device
    watch, counts = Stopwatch(device), sampler.Counts()
    start = watch.now()
    state = sampler.begin(
        range(samples), length, schedule.steps, first.mask_id, seed, device=device
    )
    for _ in sampler.advance(
        state, denoisers, schedule, seed=seed, batch_size=batch_size, counts=counts, timed=watch
    ):
        pass
    return watch.now() - start, dict(watch.seconds), counts


@torch.no_grad()
def published_step(denoiser, length: int, batch_size: int, repeats: int = 3) -> dict:
    """Seconds by part of one step of the published sampler: all positions projected, all of [B, L,
    V] drawn.
    """
    device = denoiser.head()[0].device
    x = torch.full((batch_size, length), denoiser.mask_id, device=device)
    clock = torch.full((batch_size,), 0.5, device=device)
    generators = [torch.Generator(device).manual_seed(i) for i in range(batch_size)]
    found = defaultdict(list)
    for _ in range(repeats):
        watch = Stopwatch(device)
        with watch("body"):
            hidden = denoiser.hidden(x, clock)
        with watch("projection"):
            logits = denoiser.logits(hidden.flatten(0, 1)).view(batch_size, length, -1)
        with watch("draw"):
            mdlm_sampler.draw(logits.softmax(-1), 0.5, 1e-3, denoiser.mask_id, generators)
        for part, seconds in watch.seconds.items():
            found[part].append(seconds)
    return {part: statistics.median(values) for part, values in found.items()}


def part_rows(name: str, way: str, seconds: dict, total: float) -> list[dict]:
    """One row per part with its share, the share outside the body and the bound (7) that it
    sets.
    """
    parts = {part: seconds.get(part, 0.0) for part in PARTS[:-1]}
    parts["rest"] = max(0.0, total - sum(parts.values()))
    outside = 1 - parts["body"] / total
    return [
        {
            "kind": "part",
            "model": name,
            "sampler": way,
            "part": part,
            "seconds": value,
            "share": value / total,
            "outside_share": outside,
            "speedup_bound": 1 / outside,
        }
        for part, value in parts.items()
    ]


def profile(
    denoisers: dict,
    heavy: str,
    light: str,
    blocks: dict,
    *,
    steps: int,
    length: int,
    samples: int,
    seed: int,
    batch_size: int,
    fractions,
    schedule: Schedule | None = None,
    repeats: int = 3,
    progress=lambda done, total: None,
) -> list[dict]:
    """Rows of `stepimp profile`: `part` rows per model and way of sampling, and `saving` rows per
    schedule.

    A saving is the median over repeats of 1 - seconds / seconds of the all-heavy run beside it.
    fractions: light fractions of the sandwiches to run; schedule: one more to run."""
    all_heavy = Schedule.of([heavy] * steps)
    plans = [sandwich(steps, round(fraction * steps), heavy, light) for fraction in fractions]
    plans = list(dict.fromkeys([*plans, *([schedule] if schedule else [])]))
    runs = [(plan, repeat) for repeat in range(repeats) for plan in plans]
    measured, parts = defaultdict(list), defaultdict(list)
    arguments = (samples, length, seed, batch_size)
    run(denoisers, Schedule.of([light]), 1, length, seed, 1)  # first calls build caches
    for done, (plan, repeat) in enumerate(runs):
        if plan == plans[0]:
            base = run(denoisers, all_heavy, *arguments)
        measured[plan].append((base, run(denoisers, plan, *arguments)))
        if len(plan.models) == 1:
            parts[plan.models[0]].append(measured[plan][-1][1])
        progress(done + 1, len(runs))
    rows = []
    for name in (heavy, light):
        total, seconds, _ = sorted(
            parts[name] or [run(denoisers, Schedule.of([name] * steps), *arguments)],
            key=lambda one: one[0],
        )[len(parts[name]) // 2]
        rows += part_rows(name, "stepimp", seconds, total)
        step = published_step(denoisers[name], length, batch_size)
        rows += part_rows(name, "published", step, sum(step.values()))
    for plan in plans:
        rows.append(
            saving_row(plan, measured[plan], denoisers, heavy, light, blocks, samples, length)
        )
    return rows


def saving_row(plan, pairs, denoisers, heavy, light, blocks, samples, length) -> dict:
    base, own = pairs[0]
    savings = sorted(1 - other[0] / first[0] for first, other in pairs)
    return {
        "kind": "saving",
        "schedule": plan.format(heavy, light),
        "light_fraction": 1 - plan.fraction(heavy),
        "saved_flops": saved_flops(plan, blocks, heavy),
        "saved_flops_exact": 1
        - exact_flops(denoisers, own[2], length) / exact_flops(denoisers, base[2], length),
        "saved_seconds": statistics.median(savings),
        "saved_seconds_low": savings[0],
        "saved_seconds_high": savings[-1],
        "seconds": statistics.median(other[0] for _, other in pairs),
        "forwards": own[2].forwards.total(),
        "sample_steps": plan.steps * samples,
        "tokens_per_second": own[2].tokens.total()
        / statistics.median(other[0] for _, other in pairs),
    }
