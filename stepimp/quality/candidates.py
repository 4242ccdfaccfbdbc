"""Which schedules a comparison holds side by side."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stepimp.documents import newest
from stepimp.errors import StepimpError
from stepimp.quality.paired_samples import Sampled
from stepimp.sampling.chosen import read_saved, read_schedule
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.saved import AnySchedule
from stepimp.schedules.schedule import LIGHT_SHARE, Schedule, hand_crafted, parse, sandwich

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A schedule to compare."""

    name: str
    """What it is called, such as "sandwich"."""
    light: str | None
    """The light model it is about, None for all-heavy."""
    schedule: AnySchedule
    steps: int | None = None
    """T of ancestral sampling with a schedule over masked positions; None: one token at a time."""

    @property
    def sampled(self) -> Sampled:
        """What its samples are drawn with."""
        return Sampled(self.schedule, self.steps)


def all_heavy(steps: int, heavy: str) -> Candidate:
    """The schedule that every other one is compared with."""
    return Candidate("all-heavy", None, Schedule.of([heavy] * steps))


def papers_seven(steps: int, heavy: str, light: str) -> list[Candidate]:
    """The paper's seven: a quarter of the steps light in a sandwich or in one quarter of the
    trajectory, all light, and all heavy.
    """
    schedules = hand_crafted(steps, round(LIGHT_SHARE * steps), heavy, light)
    return [
        Candidate(name, None if name == "all-heavy" else light, schedule)
        for name, schedule in schedules.items()
    ]


def sandwiches(steps: int, fractions: Iterable[float], heavy: str, light: str) -> list[Candidate]:
    """Sandwiches with these fractions of light steps, as in the paper's Table 2."""
    names = {0: "all-heavy", steps: "all-light"}
    counts = dict.fromkeys(round(fraction * steps) for fraction in fractions)
    return [
        Candidate(
            names.get(count, "sandwich"),
            light if count else None,
            sandwich(steps, count, heavy, light),
        )
        for count in counts
    ]


def given_candidates(
    steps: int,
    schedules: Iterable[str],
    fractions: Iterable[float],
    heavy: str,
    lights: Sequence[str],
) -> list[Candidate]:
    """Schedules and plans in their notation or in JSON files, and sandwiches of light fractions,
    for each light model. Raises StepimpError if one cannot be read or has another T.
    """
    written = [read(text, heavy, light, steps) for light in lights for text in schedules]
    for light in lights:
        written += sandwiches(steps, fractions, heavy, light)
    return written


def read(text: str, heavy: str, light: str, steps: int) -> Candidate:
    """A schedule or plan in its notation, or in a JSON file, which is called by the file's name.

    steps: T of a schedule over steps or over masked positions; one in a file may also be for
    first-hitting sampling. Raises StepimpError if it cannot be read or has another T.
    """
    if not text.endswith(".json"):
        schedule, _ = read_schedule(text, heavy, light, None if "*" in text else steps)
        name = {MaskedSchedule: "over masked", Plan: "plan"}.get(type(schedule), "given")
        over_masked = isinstance(schedule, MaskedSchedule)
        return Candidate(name, light, schedule, steps if over_masked else None)
    saved, name = read_saved(text), Path(text).name
    own_steps = saved.schedule.steps if isinstance(saved.schedule, Schedule) else saved.steps
    if own_steps not in (None, steps):
        raise StepimpError(f"The schedule of {text} has {own_steps} steps, not T = {steps}.")
    if isinstance(saved.schedule, MaskedSchedule) and own_steps is None:
        name += ", first-hitting"
    return Candidate(name, light, saved.schedule, saved.steps)


def recommended(
    out: str, steps: int, heavy: str, light: str, fingerprints: dict[str, str]
) -> Candidate | None:
    """The newest recommendation in the results folder for models of these weights, T, and a quarter
    of light steps; None if there is none.

    fingerprints: model -> fingerprint of its weights.
    """

    def matches(document):
        params = document["params"]
        weights = document["provenance"]["fingerprints"]["models"]
        names = ("heavy", "lights", "steps", "budget", "save_flops")
        same_models = all(weights.get(name) == fingerprints[name] for name in (heavy, light))
        wanted = [heavy, [light], steps, LIGHT_SHARE, False]
        same_params = [params[name] for name in names] == wanted
        return same_models and same_params

    document = newest(out, "recommend", matches)
    if document is None:
        return None
    return Candidate("recommended", light, parse(document["rows"][0]["schedule"], heavy, light))


def default_candidates(
    out: str,
    steps: int,
    heavy: str,
    lights: Iterable[str],
    fingerprints: dict[str, str],
) -> list[Candidate]:
    """The recommendation and the paper's seven for each light model. Logs which has no
    recommendation.
    """
    candidates = []
    for light in lights:
        candidates += papers_seven(steps, heavy, light)
        recommendation = recommended(out, steps, heavy, light, fingerprints)
        if recommendation:
            candidates.insert(0, recommendation)
        else:
            log.warning(
                f"No recommendation for {heavy} and {light} at T = {steps} and {LIGHT_SHARE:.0%} "
                f"light steps in {out}: a stepimp recommend with these options makes one."
            )
    return candidates
