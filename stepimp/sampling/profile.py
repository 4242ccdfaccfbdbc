"""Where sampling time goes, and how much of the saved FLOPs a schedule turns into saved seconds."""

import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from stepimp.checks import Count
from stepimp.columns import typed
from stepimp.journals import MemoryJournal
from stepimp.models.denoiser import Denoiser
from stepimp.models.family import family_folder, recorded
from stepimp.models.loading import load
from stepimp.models.options import ModelOptions
from stepimp.processes import Processes
from stepimp.progress import Progress, ProgressOption, no_progress, reporter
from stepimp.results import Run, results_folder
from stepimp.rows import PartRow, SavingRow
from stepimp.sampling import mdlm_sampler, sampler
from stepimp.sampling.cost import Stopwatch, exact_flops
from stepimp.sampling.reproducibility import reproducibility_rows
from stepimp.schedules.schedule import Schedule, parse, sandwich, saved_flops

PARTS = ("body", "projection", "draw", "rest")


@dataclass(frozen=True, kw_only=True)
class ProfileOptions(ModelOptions):
    """What `profile_models` runs."""

    heavy: str
    """Name of the heavy model."""
    light: str
    """Name of the light model."""
    schedule: str | None = None
    """Notation of a schedule to time beside the sandwiches."""
    steps: Count = 1000
    """T, the number of denoising steps."""
    samples: Count = 8
    """Samples per run."""
    length: Count | None = None
    """Tokens per sample; None: the models' maximum."""
    batch_size: Count = 8
    """Sequences per forward pass."""
    repeats: Count = 3
    """Runs of each schedule; medians are reported."""
    points: Count = 6
    """Number of sandwiches, with light fractions equally spaced from 0 to 1."""

    def schedules(self) -> list[Schedule]:
        """The sandwiches and the schedule beside them. Raises StepimpError if it does not parse."""
        fractions = np.linspace(0, 1, self.points)
        schedules = [
            sandwich(self.steps, round(fraction * self.steps), self.heavy, self.light)
            for fraction in fractions
        ]
        if self.schedule:
            schedules.append(parse(self.schedule, self.heavy, self.light, self.steps))
        return list(dict.fromkeys(schedules))


class Timing(NamedTuple):
    """One timed run of a schedule."""

    seconds: float
    """In all."""
    parts: dict[str, float]
    """Seconds in each of PARTS but the rest."""
    counts: sampler.Counts
    """Forward passes and tokens."""


def profile_models(options: ProfileOptions, progress: ProgressOption = False) -> dict:
    """The results document of `stepimp profile`, written to the results folder.

    Rows: those of `timing_rows` and of `reproducibility_rows`. Raises StepimpError for models,
    schedules and lengths that cannot be run.
    """
    progress, schedules = reporter(progress), options.schedules()
    results_folder(options.out)
    scheduled = (name for schedule in schedules for name in schedule.models)
    names = [options.heavy, options.light, *scheduled]
    processes, folder = Processes(), family_folder(options.family)
    device = processes.device(options.device)
    family = load(names, folder, device, options.dtype, options.attn)
    family.require_lighter(options.heavy, [options.light])
    length = options.length or family.length
    for schedule in schedules:
        sampler.check(family.denoisers, schedule, length)
    params = dict(
        heavy=options.heavy,
        light=options.light,
        schedule=options.schedule,
        steps=options.steps,
        samples=options.samples,
        length=length,
        batch_size=options.batch_size,
        repeats=options.repeats,
        points=options.points,
        seed=options.seed,
        dtype=options.dtype,
        family=recorded(options.family),
        **family.params,
    )
    fingerprints = {"models": family.fingerprints}
    run = Run(options.out, "profile", params, fingerprints, family.any.device, options.dtype)
    timings = timing_rows(family.denoisers, family.blocks, options, length, progress)
    bits = processes.from_first(
        lambda: reproducibility_rows(family.denoisers, length, seed=options.seed)
    )
    return run.finish([*timings, *bits], blocks=family.blocks)


def timing_rows(
    denoisers: dict[str, Denoiser],
    blocks: dict[str, int],
    options: ProfileOptions,
    length: int,
    progress: Progress = no_progress,
) -> list[PartRow | SavingRow]:
    """`part` rows per model and sampler, and a `saving` row per schedule.

    Each schedule is timed against an all-heavy run of the same repeat.
    """
    heavy, light = options.heavy, options.light
    pairs = time_schedules(denoisers, options, length, progress)
    of_model: dict[str, list[Timing]] = defaultdict(list)
    for schedule, paired in pairs.items():
        if len(schedule.models) == 1:
            of_model[schedule.models[0]] += [timing for _, timing in paired]
    rows: list[PartRow | SavingRow] = []
    for name in (heavy, light):
        timings = sorted(of_model[name], key=lambda timing: timing.seconds)
        middle = timings[len(timings) // 2]
        rows += part_rows(name, "stepimp", middle.parts, middle.seconds)
        step = mdlm_step(denoisers[name], length, options.batch_size)
        rows += part_rows(name, "published", step, sum(step.values()))
    for schedule, paired in pairs.items():
        costs = cost_columns(paired, denoisers, length) | {
            "sample_steps": schedule.steps * options.samples
        }
        row = {
            "kind": "saving",
            "schedule": schedule.format(heavy, light),
            "light_fraction": 1 - schedule.fraction(heavy),
            "saved_flops": saved_flops(schedule, blocks, heavy),
        }
        rows.append(typed(SavingRow, row | costs))
    return rows


def time_schedules(
    denoisers: dict[str, Denoiser], options: ProfileOptions, length: int, progress: Progress
) -> dict[Schedule, list[tuple[Timing, Timing]]]:
    """Schedule -> (all-heavy, the schedule) of each repeat.

    One process times all-heavy and all schedules of a repeat, so that the times can be compared.
    """
    schedules, processes = options.schedules(), Processes()
    count, total = processes.counter(), options.repeats * len(schedules)

    def timed(schedule: Schedule) -> Timing:
        return time_run(
            denoisers, schedule, options.samples, length, options.seed, options.batch_size
        )

    def repetition(number: int) -> list[tuple[Timing, Timing]]:
        all_heavy, pairs = timed(Schedule.of([options.heavy] * options.steps)), []
        for schedule in schedules:
            pairs.append((all_heavy, timed(schedule)))
            progress(count(1), total)
        return pairs

    progress(0, total)
    # First calls build caches.
    time_run(denoisers, Schedule.of([options.light]), 1, length, options.seed, batch_size=1)
    numbers = range(options.repeats)
    repetitions = processes.finish_units(dict(zip(numbers, numbers)), repetition, MemoryJournal())
    return dict(zip(schedules, map(list, zip(*(repetitions[number] for number in numbers)))))


@torch.no_grad()
def time_run(
    denoisers: dict[str, Denoiser],
    schedule: Schedule,
    samples: int,
    length: int,
    seed: int,
    batch_size: int,
) -> Timing:
    """Draws the samples once and times it."""
    first = denoisers[schedule.models[0]]
    device = first.device
    watch, counts = Stopwatch(device), sampler.Counts()
    start = watch.now()
    state = sampler.begin(
        range(samples),
        length,
        schedule.steps,
        first.mask_id,
        seed,
        device=device,
        frame=first.frame,
    )
    for _ in sampler.advance(
        state, denoisers, schedule, seed=seed, batch_size=batch_size, counts=counts, timed=watch
    ):
        pass
    return Timing(watch.now() - start, dict(watch.seconds), counts)


@torch.no_grad()
def mdlm_step(
    denoiser: Denoiser, length: int, batch_size: int, repeats: int = 3
) -> dict[str, float]:
    """Seconds by part of one step of the MDLM repository's sampler, medians over repeats.

    It projects all positions and draws from all of [B, L, V].
    """
    device = denoiser.device
    x = torch.full((batch_size, length), denoiser.mask_id, device=device)
    clock = torch.full((batch_size,), 0.5, device=device)
    generators = [torch.Generator(device).manual_seed(i) for i in range(batch_size)]
    seconds = defaultdict(list)
    for _ in range(repeats):
        watch = Stopwatch(device)
        with watch("body"):
            hidden = denoiser.hidden(x, clock)
        with watch("projection"):
            logits = denoiser.logits(hidden.flatten(0, 1)).view(batch_size, length, -1)
        with watch("draw"):
            mdlm_sampler.draw(logits.softmax(-1), 0.5, 1e-3, denoiser.mask_id, generators)
        for part, value in watch.seconds.items():
            seconds[part].append(value)
    return {part: statistics.median(values) for part, values in seconds.items()}


def part_rows(model: str, sampler_name: str, seconds: dict, total: float) -> list[PartRow]:
    """A row per part with its share; in each the share outside the body and the bound (7)."""
    parts = {part: seconds.get(part, 0.0) for part in PARTS[:-1]}
    parts["rest"] = max(0.0, total - sum(parts.values()))
    outside = 1 - parts["body"] / total
    rows = []
    for part, value in parts.items():
        row = {"kind": "part", "model": model, "sampler": sampler_name, "part": part}
        row |= {"seconds": value, "share": value / total}
        row |= {"outside_share": outside, "speedup_bound": 1 / outside}
        rows.append(typed(PartRow, row))
    return rows


def cost_columns(
    pairs: list[tuple[Timing, Timing]], denoisers: dict[str, Denoiser], length: int
) -> dict:
    """What a schedule costs and saves, from (all-heavy, schedule) timings of each repeat.

    saved_seconds is the median over repeats, its _low and _high are the least and the greatest.
    """
    all_heavy, first = pairs[0]
    savings = sorted(1 - timing.seconds / heavy.seconds for heavy, timing in pairs)
    seconds = statistics.median(timing.seconds for _, timing in pairs)
    flops, heavy_flops = (
        exact_flops(denoisers, timing.counts, length) for timing in (first, all_heavy)
    )
    return {
        "saved_flops_exact": 1 - flops / heavy_flops,
        "saved_seconds": statistics.median(savings),
        "saved_seconds_low": savings[0],
        "saved_seconds_high": savings[-1],
        "seconds": seconds,
        "forwards": first.counts.forwards.total(),
        "tokens_per_second": first.counts.tokens.total() / seconds,
    }
