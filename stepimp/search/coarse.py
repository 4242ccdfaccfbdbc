"""Coarse schedules: the trajectory in equal segments, a fixed number of them light."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from math import comb

import numpy as np

from stepimp.errors import StepimpError
from stepimp.schedules.schedule import Schedule

MOST_SCHEDULES = 10_000


@dataclass(frozen=True)
class Coarse:
    """All schedules of `segments` equal parts of T steps, `light_segments` of them light.

    A schedule's name has a letter per segment, H or L, the start of sampling first: LHHHHHHLLL. If
    T is not a multiple of the segments, their edges are rounded.
    """

    heavy: str
    """Name of the heavy model."""
    light: str
    """Name of the light model."""
    steps: int
    """T, the number of denoising steps."""
    segments: int = 10
    light_segments: int = 4

    def check(self):
        """Raises StepimpError for sizes that make no schedule, or more than MOST_SCHEDULES."""
        if self.light_segments >= self.segments:
            raise StepimpError(
                f"{self.light_segments} light segments must be fewer than the {self.segments} "
                "segments."
            )
        if self.steps < self.segments:
            raise StepimpError(f"{self.steps} steps cannot be cut into {self.segments} segments.")
        count = comb(self.segments, self.light_segments)  # which may be too large for len()
        if count > MOST_SCHEDULES:
            number = f"{count:,}" if count < 10**12 else "trillions of"
            raise StepimpError(
                f"{self.segments} segments, {self.light_segments} of them light, make {number} "
                f"schedules; the most is {MOST_SCHEDULES:,}."
            )

    def __len__(self) -> int:
        return comb(self.segments, self.light_segments)

    @property
    def edges(self) -> list[int]:
        """[segments + 1] steps done before each segment, and at the end."""
        return [round(k * self.steps / self.segments) for k in range(self.segments + 1)]

    def names(self) -> list[str]:
        """All schedules in alphabetical order: those with a common beginning are neighbours."""
        choices = itertools.combinations(range(self.segments), self.light_segments)
        return sorted(
            "".join("L" if k in light else "H" for k in range(self.segments)) for light in choices
        )

    def model(self, letter: str) -> str:
        """The model of a letter, H or L."""
        return {"H": self.heavy, "L": self.light}[letter]

    def schedule(self, name: str) -> Schedule:
        """The schedule of a name."""
        widths = np.diff(self.edges).tolist()
        return Schedule.joined(zip(map(self.model, name), widths))

    def is_light(self) -> np.ndarray:
        """[schedules, segments] whether a schedule is light in a segment."""
        return np.array([[letter == "L" for letter in name] for name in self.names()])


def segment_runs(names: Iterable[str]) -> int:
    """Number of segments to run when schedules share the segments they begin with."""
    return len({name[:depth] for name in names for depth in range(1, len(name) + 1)})
