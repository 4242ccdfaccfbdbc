"""What work costs on this machine: seconds and memory, from a few seconds of it, kept in the
cache."""

import json
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from stepimp.estimates import timing
from stepimp.estimates.timing import Clock
from stepimp.estimates.work import Work
from stepimp.models.family import family_folder, resolve
from stepimp.models.options import ModelOptions

TIMES = (0.25, 0.5, 0.75)  # t of the curves that are timed: about their mean, and past it
SLICES = 24  # parts of a trajectory, of which as many are timed as timing.SECONDS allow

Run = tuple[Work, ModelOptions, str | None]
"""Some work, on which device and in which dtype it runs, and its judge as `rates` has it."""


@dataclass(frozen=True)
class Rates:
    """What the models and the judge of some work cost."""

    flops: dict[str, tuple[float, float]]
    """model -> FLOPs of a forward pass and of a row, see `Denoiser.flops`."""
    startup: float
    """Seconds until the models were loaded."""
    input: float
    """Seconds of a corrupted sequence of the curves in all models."""
    forward: dict[str, float]
    """model -> seconds of a sequence in sampling, with its draws."""
    text: float
    """Seconds to score a text."""
    memory: int
    """Most bytes that the process, or the GPU, held."""

    def seconds(self, work: Work, processes: int = 1) -> float:
        """Seconds that the work takes, shared by this many processes."""
        sampling = sum(self.forward[model] * count for model, count in work.drawn.items())
        shared = self.input * work.inputs + sampling + self.text * work.texts
        return self.startup + shared / processes


def rates_file(work: Work, options: ModelOptions, judge: str | None) -> Path:
    """Where the rates of this work are kept, for this machine, these weights and batches."""
    folder = family_folder(options.family)
    run = (options.device, options.dtype, options.attn, judge or "")
    sizes = (work.length, work.batch_size, work.together, bool(work.inputs), bool(work.texts))
    weights = [(model, timing.stamp(resolve(model, folder))) for model in work.models]
    return timing.rates_path(run, sizes, sorted(work.drawn), weights)


def known_rates(work: Work, options: ModelOptions, judge: str | None = None) -> Rates | None:
    """The rates that were measured before, None where they were not; all are zero where no model
    runs. Loads no model.
    """
    if not work.models:
        return Rates(flops={}, startup=0.0, input=0.0, forward={}, text=0.0, memory=0)
    file = rates_file(work, options, judge)
    return Rates(**json.loads(file.read_text("utf-8"))) if file.exists() else None


def rates(work: Work, options: ModelOptions, judge: str | None = None) -> Rates:
    """The rates of some work, measured now if they are not known.

    judge: folder or Hugging Face id, where texts are scored; None for the family's own. Raises
    StepimpError for models and judges that cannot be loaded.
    """
    measured = known_rates(work, options, judge)
    if measured is None:
        measured = measure_rates(work, options, judge)
        timing.keep(rates_file(work, options, judge), measured)
    return measured


def rates_apart(runs: Sequence[Run], report: Callable[[int, int], None]) -> list[Rates]:
    """`rates` of several commands, each measured in a process of its own: the time to start and the
    memory are those of one command. report: called with how many are done and with their number.
    """
    all_rates = []
    for number, run in enumerate(runs):
        measured = known_rates(*run)
        if measured is None:
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                measured = process.submit(rates, *run).result()
        all_rates.append(measured)
        report(number + 1, len(runs))
    return all_rates


def measure_rates(work: Work, options: ModelOptions, judge: str | None) -> Rates:
    """`rates`, measured."""
    watch = timing.Stopwatch()
    import torch

    from stepimp.models.loading import load
    from stepimp.quality.judge import judge_of, load_judge

    folder = family_folder(options.family)
    family = load(work.models, folder, options.device, options.dtype, options.attn)
    scorer = load_judge(judge or judge_of(folder), options.device) if work.texts else None
    if work.inputs:
        timing.import_datasets()
    clock = timing.clock_for(family.any.device)
    startup = watch.seconds(clock)
    with torch.no_grad():
        per_input = seconds_of_input(family, work, clock) if work.inputs else 0.0
        forward = {
            name: seconds_of_forward(family.denoisers[name], work, clock) for name in work.drawn
        }
        per_text = seconds_of_text(family, scorer, work, clock) if scorer else 0.0
    return Rates(
        flops={name: model.flops(work.length) for name, model in family.denoisers.items()},
        startup=startup,
        input=per_input,
        forward=forward,
        text=per_text,
        memory=timing.peak_memory(family.any.device),
    )


def seconds_of_input(family, work: Work, clock: Clock) -> float:
    """Seconds of one corrupted sequence in all models, as `curves.measure` runs them."""
    import torch

    from stepimp.curves.measure import measure_chunk

    draws = torch.Generator().manual_seed(0)
    shape = (min(work.batch_size, max(1, round(work.inputs))), work.length)
    ordered = {name: family.denoisers[name] for name in work.models}
    tokens = torch.randint(family.any.mask_id or 1, shape, generator=draws)
    uniforms = torch.rand(shape, generator=draws)
    noise = family.any.noise
    measure_chunk(ordered, tokens, uniforms, TIMES[:1], noise)  # builds caches
    seconds = timing.median_seconds(
        lambda: measure_chunk(ordered, tokens, uniforms, TIMES, noise),
        clock,
        len(ordered),
    )
    return seconds / (len(TIMES) * len(tokens))


def seconds_of_forward(denoiser, work: Work, clock: Clock) -> float:
    """Seconds of one sequence in one model, with the draws at its positions, as the sampler runs
    it.
    """
    from stepimp.sampling import sampler
    from stepimp.schedules.schedule import Schedule

    steps = 40 * SLICES
    schedule, spent = Schedule((("", steps),)), list[float]()
    started = clock()
    for seed in range(1, 100):
        state = sampler.begin(
            range(work.together), work.length, steps, denoiser.mask_id, seed,
            device=denoiser.device, frame=denoiser.frame,
        )  # fmt: skip
        for part in reversed(range(SLICES)):
            counts, start = sampler.Counts(), clock()
            for _ in sampler.advance(
                state, {"": denoiser}, schedule, part * steps // SLICES,
                seed=seed, batch_size=work.batch_size, counts=counts,
            ):  # fmt: skip
                pass
            if forwards := counts.forwards.total():
                spent.append((clock() - start) / forwards)
            if len(spent) > 3 and clock() - started > timing.SECONDS:
                return statistics.median(spent[1:])  # the first one builds caches
    return statistics.median(spent)


def seconds_of_text(family, judge, work: Work, clock: Clock) -> float:
    """Seconds to score a text of the shallowest model."""
    from stepimp.quality.scoring import score
    from stepimp.sampling import sampler
    from stepimp.schedules.schedule import Schedule

    name = min(work.models, key=lambda name: family.denoisers[name].blocks)
    count = max(work.batch_size, 8)
    plan = Schedule(((name, 16),))
    tokens = sampler.sample(
        family.denoisers, plan, range(count), work.length, seed=0, batch_size=work.batch_size
    )
    texts = family.decode(tokens.tolist())
    score(judge, texts[:1])
    start = clock()
    score(judge, texts)
    return (clock() - start) / count
