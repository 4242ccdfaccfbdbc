"""Samples of several schedules under common random numbers, drawn in turns and kept in files.

Sample i of one schedule is paired with sample i of every other: they share random numbers and
prefix. What was drawn with a schedule is kept in a file named by everything the samples depend on,
so that it is found again after a kill, with another judge, or among other schedules.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from stepimp import __version__, randomness
from stepimp.checks import is_array, is_number, span
from stepimp.errors import StepimpError
from stepimp.journals import Check, Journal, join_journals, journals_beside, open_journal
from stepimp.models.loading import Family
from stepimp.processes import Processes
from stepimp.progress import Progress, no_progress
from stepimp.results import results_folder, run_key
from stepimp.sampling import sampler
from stepimp.sampling.cost import Stopwatch, exact_flops
from stepimp.sampling.generate import is_id
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.saved import AnySchedule, kind_of, parts_of
from stepimp.schedules.schedule import Schedule
from stepimp.text.blocks import load_blocks
from stepimp.wording import counted

COSTS = ("seconds", "flops")  # of each batch of samples


class Sampled(NamedTuple):
    """What samples are drawn with."""

    schedule: AnySchedule
    steps: int | None = None
    """T of ancestral sampling with a schedule over masked positions; None: one token at a time."""

    @property
    def first_hitting(self) -> bool:
        """Whether one position is unmasked at a time."""
        return isinstance(self.schedule, MaskedSchedule) and self.steps is None


@dataclass(frozen=True)
class Setting:
    """What the samples of all schedules have in common."""

    family: Family
    heavy: str
    """Name of the heavy model."""
    steps: int
    """T of the all-heavy schedule that all others are compared with."""
    samples: int
    """Samples per schedule."""
    length: int
    """Tokens per sample."""
    seed: int
    out: str
    """Folder the samples are kept in."""
    prefixes: torch.Tensor | None = None
    """[samples, P] tokens that the samples start with."""
    text: str | None = None
    """Fingerprint of the text that the prefixes come from."""
    batch_size: int = 8
    """Samples drawn with one schedule before it is the next one's turn."""
    dtype: str = "float32"

    @property
    def masked(self) -> int:
        """Masked positions that a sample begins with."""
        given = 0 if self.prefixes is None else self.prefixes.shape[1]
        return self.length - given - self.family.around

    @property
    def turns(self) -> list[range]:
        """Sample indices of each batch."""
        starts = range(0, self.samples, self.batch_size)
        return [range(start, min(start + self.batch_size, self.samples)) for start in starts]

    def prefixes_of(self, indices: Iterable[int]) -> torch.Tensor | None:
        """[n, P] prefixes of these samples, None without prefixes."""
        return None if self.prefixes is None else self.prefixes[list(indices)]


def text_prefixes(
    data: str,
    family: Family,
    samples: int,
    length: int,
    prefix_length: int,
    seed: int,
    column: str = "text",
) -> tuple[torch.Tensor, str]:
    """The first tokens of held-out sequences, [samples, prefix_length], and the text's fingerprint.

    length: tokens per sequence. Raises StepimpError if the text has too few sequences.
    """
    blocks = load_blocks(data, family.tokenizer, length, "heldout", column, samples)
    if len(blocks.tokens) < samples:
        raise StepimpError(
            f"{data} has {counted(len(blocks.tokens), 'held-out sequence')} of {length} tokens, "
            f"and {samples} prefixes are needed: use fewer samples or more text."
        )
    order = randomness.generator(seed, randomness.DATA).permutation(len(blocks.tokens))[:samples]
    return blocks.tokens[torch.as_tensor(order), :prefix_length].long(), blocks.fingerprint


def samples_file(setting: Setting, drawn: Sampled) -> tuple[Path, str]:
    """The file of a schedule's samples, named by a digest of all that samples and times depend on,
    and the digest.
    """
    fingerprints, schedule = setting.family.fingerprints, drawn.schedule
    written: list = [[fingerprints[name], *counts] for name, *counts in parts_of(schedule)]
    if not isinstance(schedule, Schedule):
        written = [kind_of(schedule), drawn.steps, *written]
    prefix_length = 0 if setting.prefixes is None else setting.prefixes.shape[1]
    key = run_key(
        "samples",
        dict(
            schedule=written,
            length=setting.length,
            seed=setting.seed,
            prefix_length=prefix_length,
            text=setting.text,
            batch_size=setting.batch_size,
            dtype=setting.dtype,
            device=str(setting.family.any.device),
            version=__version__,
            **setting.family.params,
        ),
        {},
    )
    return results_folder(setting.out) / f"samples-{key}.jsonl", key


def samples_check(setting: Setting) -> Check:
    """The check of a file that keeps results of `draw_turn`."""
    token = is_id(setting.family.any.vocab_size)

    def check(unit: str, result) -> str:
        count = span(unit)
        whole = (
            isinstance(result, dict)
            and is_array(result.get("tokens"), (count, setting.length), token)
            and is_array(result.get("text"), (count,), lambda text: isinstance(text, str))
            and all(is_number(result.get(name)) and result[name] > 0 for name in COSTS)
            and isinstance(result.get("run"), str)
        )
        if whole and count:
            return ""
        return f"samples {unit} are not {count} times {setting.length} tokens with text and costs"

    return check


def unit(turn: range) -> str:
    """What the journal calls the samples of a turn."""
    return f"{turn.start}:{turn.stop}"


@dataclass(frozen=True)
class Drawn:
    """All samples of a schedule."""

    turns: dict[str, dict]
    """Name of a batch, see `unit`, -> result of `draw_turn` and the run that drew it."""
    file: Path
    """Where they are kept."""


def draw_samples(
    setting: Setting,
    schedules: list[Sampled],
    stamp: str,
    progress: Progress = no_progress,
) -> dict[Sampled, Drawn]:
    """Draws the samples that are not kept yet: schedule -> its samples.

    Schedules take turns batch by batch, so that a slow spell of the machine affects all alike.
    stamp: names this run in what it draws.
    """
    processes, check = Processes(), samples_check(setting)
    files = {schedule: samples_file(setting, schedule) for schedule in schedules}
    journals = {
        schedule: open_journal(*file, check, processes.rank) for schedule, file in files.items()
    }
    draw_missing(setting, journals, processes, stamp, progress)
    done = {schedule: processes.gather(journal.done) for schedule, journal in journals.items()}
    if processes.rank == 0:
        for schedule, (path, key) in files.items():
            join_journals(path, key, done[schedule], check)
    processes.gather({})  # all are in the first process's files before the others remove theirs
    for path, _ in files.values():
        for other in set(journals_beside(path)) - {path}:
            other.unlink(missing_ok=True)
    return {schedule: Drawn(done[schedule], path) for schedule, (path, _) in files.items()}


def draw_missing(
    setting: Setting,
    journals: dict[Sampled, Journal],
    processes: Processes,
    stamp: str,
    progress: Callable[[int, int], None],
):
    """Draws what no process has drawn yet, into this process's journals.

    One process draws a batch with all schedules, so that their times can be compared.
    """
    done = {schedule: processes.gather(journal.done) for schedule, journal in journals.items()}
    missing = [
        (turn, schedule)
        for turn in setting.turns
        for schedule in done
        if unit(turn) not in done[schedule]
    ]
    # First calls build caches, which would count as time of the first turn.
    for name in dict.fromkeys(name for _, sampled in missing for name in sampled.schedule.models):
        warm_up = Schedule.of([name])
        sampler.sample(setting.family.denoisers, warm_up, [0], setting.length, seed=setting.seed)
    count = processes.counter()
    if missing:
        progress(0, len(missing))
    for turn in processes.share(list(dict.fromkeys(turn for turn, _ in missing))):
        for schedule in (schedule for missed, schedule in missing if missed == turn):
            drawn = draw_turn(setting, schedule, turn) | {"run": stamp}
            journals[schedule].add(unit(turn), drawn)
            progress(count(1), len(missing))


def draw_turn(setting: Setting, sampled: Sampled, turn: range) -> dict:
    """One batch of samples: tokens, text, and what they cost in seconds and FLOPs."""
    family, counts = setting.family, sampler.Counts()
    clock = Stopwatch(family.any.device)
    start = clock.now()
    tokens = sampler.sample(
        family.denoisers,
        sampled.schedule,
        turn,
        setting.length,
        seed=setting.seed,
        prefix=setting.prefixes_of(turn),
        batch_size=setting.batch_size,
        counts=counts,
        steps=sampled.steps,
        first_hitting=sampled.first_hitting,
    )
    seconds = clock.now() - start
    return {
        "seconds": seconds,
        "flops": exact_flops(family.denoisers, counts, setting.length),
        "tokens": tokens.tolist(),
        "text": family.decode(tokens.tolist()),
    }
