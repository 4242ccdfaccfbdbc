"""Schedules over the number of masked positions n: which model runs while n of them are left.

Written from the start of sampling to its end: `L@1024-900,H@900-100,L@100-0`, or by the models'
names: `4b@1024-900,12b@900-0`. `4b@1024-900` runs 4b in every event that begins with at most 1024
and more than 900 masked positions.
"""

import re
from dataclasses import dataclass
from itertools import groupby

from stepimp import pictures
from stepimp.errors import StepimpError
from stepimp.schedules.notation import model_of, parts_of, written_names

SEGMENT = re.compile(r"([^,\s]+)@(\d{1,18})-(\d{1,18})")
MOST_MASKED = 1_000_000  # positions of a text


@dataclass(frozen=True)
class MaskedSchedule:
    """segments: (model name, most, fewest) from the start of sampling to its end; the model runs
    the events that begin with n masked positions, most >= n > fewest.

    Neighbours meet, the first begins with at most MOST_MASKED and the last ends at 0. Raises
    StepimpError for other segments.
    """

    segments: tuple[tuple[str, int, int], ...]

    def __post_init__(self):
        ends = [fewest for _, _, fewest in self.segments]
        begins = [most for _, most, _ in self.segments]
        if not self.segments or begins[1:] != ends[:-1] or ends[-1] != 0:
            raise StepimpError(
                "Segments over masked positions must meet and end at 0, as 4b@64-40,12b@40-0 do."
            )
        for model, most, fewest in self.segments:
            if most <= fewest:
                raise StepimpError(
                    f"Segment {model}@{most}-{fewest} is empty: the larger number comes first."
                )
        if self.length > MOST_MASKED:
            raise StepimpError(
                f"A schedule over {self.length:,} masked positions; the most is {MOST_MASKED:,}."
            )

    @classmethod
    def of(cls, models) -> "MaskedSchedule":
        """From one model name for each n = L, L - 1, ..., 1."""
        models, segments = list(models), []
        most = len(models)
        for model, run in groupby(models):
            fewest = most - len(list(run))
            segments.append((model, most, fewest))
            most = fewest
        return cls(tuple(segments))

    @property
    def length(self) -> int:
        """L, the most masked positions it is made for."""
        return self.segments[0][1]

    @property
    def models(self) -> tuple[str, ...]:
        """The models it uses, each once, in the order of first use."""
        return tuple(dict.fromkeys(model for model, _, _ in self.segments))

    def _repr_html_(self) -> str:
        """The schedule as a strip from all positions masked to none, in notebooks."""
        sizes = [(model, most - fewest) for model, most, fewest in self.segments]
        ends = (f"n = {self.length}", "n = 0")
        return pictures.strip(sizes, self.format(), "masked positions", ends)

    def model_at(self, n: int) -> str:
        """The model of an event that begins with n masked positions. Raises StepimpError outside
        1..L.
        """
        for model, most, fewest in self.segments:
            if most >= n > fewest:
                return model
        raise StepimpError(
            f"{n} masked positions are outside 1..{self.length}, those of the schedule "
            f"{self.format()}."
        )

    def by_masked(self) -> list[str]:
        """The model for n masked positions at index n - 1."""
        return [
            model for model, most, fewest in reversed(self.segments) for _ in range(most - fewest)
        ]

    def format(self, heavy: str | None = None, light: str | None = None) -> str:
        """The notation; with H and L where the two names given cover the schedule."""
        names = written_names(self.models, heavy, light)
        return ",".join(f"{names[model]}@{most}-{fewest}" for model, most, fewest in self.segments)


def parse(
    text: str, heavy: str | None, light: str | None = None, length: int | None = None
) -> MaskedSchedule:
    """Reads the notation. H and L stand for `heavy` and `light`; length: the number of masked
    positions it must begin with, None for any.

    Raises StepimpError where it does not parse, its segments do not meet or are empty, it uses a
    letter without a model, or it begins with another number.
    """
    segments: list[tuple[str, int, int]] = []
    for part in parts_of(text):
        match = SEGMENT.fullmatch(part)
        if not match:
            raise StepimpError(
                f"Schedule {text!r}: cannot read {part!r}. Write segments from the most masked "
                "positions to none, such as L@64-40,H@40-0 or 4b@64-40,12b@40-0."
            )
        model, most, fewest = model_of(match[1], heavy, light, text), int(match[2]), int(match[3])
        if segments and segments[-1][0] == model and segments[-1][2] == most > fewest:
            most = segments.pop()[1]
        segments.append((model, most, fewest))
    schedule = MaskedSchedule(tuple(segments))
    if length is not None and schedule.length != length:
        raise StepimpError(
            f"Schedule {text!r} begins with {schedule.length} masked positions, not with {length}: "
            "change one of them."
        )
    return schedule
