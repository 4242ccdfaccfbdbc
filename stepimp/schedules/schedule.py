"""The model schedule: which model runs at which of the T denoising steps.

Written from the start of sampling (t = 1) to its end: `L125,H750,L125` for one heavy and one light
model, `4b:100,8b:100,12b:600,4b:200` for several.
"""

import re
from dataclasses import dataclass
from itertools import groupby

from stepimp import pictures
from stepimp.checks import shortened
from stepimp.errors import StepimpError
from stepimp.schedules.notation import model_of, parts_of, written_names
from stepimp.wording import counted

MOST_STEPS = 1_000_000
SEGMENT = re.compile(r"([HL])(\d{1,18})|([^:,\s]+):(\d{1,18})")


@dataclass(frozen=True)
class Schedule:
    """segments: (model name, number of steps) from the start of sampling to its end; neighbours
    differ. Raises StepimpError for other things than such pairs.
    """

    segments: tuple[tuple[str, int], ...]

    def __post_init__(self):
        if isinstance(self.segments, str) or any(
            not isinstance(segment, tuple) or len(segment) != 2 for segment in self.segments
        ):
            raise StepimpError(
                f"{shortened(self.segments)} are not the segments of a schedule: give pairs such "
                'as ("12b", 750), or let `parse` read a notation.'
            )

    @classmethod
    def of(cls, models) -> "Schedule":
        """From one model name per step, the start of sampling first."""
        return cls(tuple((model, len(list(run))) for model, run in groupby(models)))

    @classmethod
    def joined(cls, parts) -> "Schedule":
        """From (model name, number of steps) pairs in the order of sampling: pairs of no steps are
        left out, and neighbours of one model become one segment.
        """
        nonempty = [(model, count) for model, count in parts if count > 0]
        runs = groupby(nonempty, key=lambda part: part[0])
        return cls(tuple((model, sum(count for _, count in run)) for model, run in runs))

    @property
    def steps(self) -> int:
        """T, the number of denoising steps."""
        return sum(count for _, count in self.segments)

    @property
    def models(self) -> tuple[str, ...]:
        """The models it uses, each once, in the order of first use."""
        return tuple(dict.fromkeys(model for model, _ in self.segments))

    def by_step(self) -> list[str]:
        """The model of step i at index i - 1; sampling runs from the last index to the first."""
        return [model for model, count in reversed(self.segments) for _ in range(count)]

    def fraction(self, model: str) -> float:
        """Share of the steps that run this model."""
        return sum(count for name, count in self.segments if name == model) / self.steps

    def format(self, heavy: str | None = None, light: str | None = None) -> str:
        """The notation; with H and L where the two names given cover the schedule."""
        names = written_names(self.models, heavy, light)
        separator = "" if set(self.models) <= {heavy, light} else ":"
        return ",".join(f"{names[model]}{separator}{count}" for model, count in self.segments)

    def _repr_html_(self) -> str:
        """The schedule as a strip from t = 1 to t = 0, in notebooks."""
        return pictures.strip(self.segments, self.format())


def parse(
    text: str, heavy: str | None, light: str | None = None, steps: int | None = None
) -> Schedule:
    """Reads the notation. H and L stand for `heavy` and `light`; steps: the T it must sum to, None
    for any.

    Raises StepimpError where it does not parse, has an empty segment, uses a letter without a
    model, or has another number of steps.
    """
    segments: list[tuple[str, int]] = []
    for part in parts_of(text):
        match = SEGMENT.fullmatch(part)
        if not match:
            raise StepimpError(
                f"Schedule {text!r}: cannot read {part!r}. Write segments from the start of "
                "sampling to its end, such as L125,H750,L125 or 4b:250,12b:750."
            )
        letter, count, model, named_count = match.groups()
        if letter:
            model = model_of(letter, heavy, light, text)
        number = int(count or named_count)
        if number < 1:
            raise StepimpError(f"Schedule {text!r}: segment {part!r} has no steps; leave it out.")
        if segments and segments[-1][0] == model:
            number += segments.pop()[1]
        segments.append((model, number))
    schedule = Schedule(tuple(segments))
    if schedule.steps > MOST_STEPS:
        raise StepimpError(
            f"Schedule {text!r} has {schedule.steps:,} steps; the most is {MOST_STEPS:,}."
        )
    if steps is not None and schedule.steps != steps:
        raise StepimpError(
            f"Schedule {text!r} sums to {counted(schedule.steps, 'step')}, not to T = {steps}: "
            "change one of them."
        )
    return schedule


def is_over_steps(text: str) -> bool:
    """Whether a notation is that of a schedule over steps, not over masked positions or of a
    plan.
    """
    return all(SEGMENT.fullmatch(part) for part in parts_of(text))


def stretched(schedule: Schedule, steps: int) -> Schedule:
    """The schedule with its boundaries at the same t, as nearly as this many steps allow."""
    stops = [0]
    for _, count in schedule.segments:
        stops.append(stops[-1] + count)
    ends = [round(stop * steps / schedule.steps) for stop in stops]
    models = [model for model, _ in schedule.segments]
    return Schedule.joined((model, b - a) for model, a, b in zip(models, ends, ends[1:]))


def sandwich(steps: int, light_steps: int, heavy: str, light: str) -> Schedule:
    """Light at both ends, heavy in the middle; an odd light step goes to the start."""
    end = light_steps // 2
    return Schedule.joined([(light, light_steps - end), (heavy, steps - light_steps), (light, end)])


def light_window(steps: int, start: int, stop: int, heavy: str, light: str) -> Schedule:
    """Light from the start-th to before the stop-th step of sampling (counted from 0), heavy
    elsewhere.
    """
    return Schedule.joined([(heavy, start), (light, stop - start), (heavy, steps - stop)])


def quarters(steps: int, heavy: str, light: str) -> list[Schedule]:
    """The four schedules that are light in one quarter of the trajectory, the first quarter
    first.
    """
    edges = [round(k * steps / 4) for k in range(5)]
    return [light_window(steps, a, b, heavy, light) for a, b in zip(edges, edges[1:]) if a < b]


LIGHT_SHARE = 0.25  # of the steps of the paper's hand-crafted schedules
QUARTERS = ("1st quarter", "2nd quarter", "3rd quarter", "4th quarter")


def hand_crafted(steps: int, light_steps: int, heavy: str, light: str) -> dict[str, Schedule]:
    """{name: schedule} of the paper's seven: "sandwich", the QUARTERS, "all-heavy", "all-light".

    light_steps: those of the sandwich, which is left out where they are none or all of the steps.
    With fewer than four steps there are fewer quarters.
    """
    named = {}
    if 0 < light_steps < steps:
        named["sandwich"] = sandwich(steps, light_steps, heavy, light)
    return {
        **named,
        **dict(zip(QUARTERS, quarters(steps, heavy, light))),
        "all-heavy": Schedule.of([heavy] * steps),
        "all-light": Schedule.of([light] * steps),
    }


def saved_flops(schedule: Schedule, blocks: dict[str, int], heavy: str) -> float:
    """Formula (3): 1 - mean over steps of B_s(i) / B_H, counting blocks only.

    blocks: model -> number of blocks.
    """
    mean = sum(blocks[model] * count for model, count in schedule.segments) / schedule.steps
    return 1 - mean / blocks[heavy]
