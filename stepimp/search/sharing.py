"""How several processes share a search: each gets neighbours in the tree of schedules."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import inf
from os.path import commonprefix
from typing import NamedTuple


class Unit(NamedTuple):
    """A schedule on a chunk of samples."""

    start: int
    """The chunk's first sample."""
    stop: int
    """The sample after its last."""
    name: str
    """Name of the schedule."""

    @property
    def key(self) -> str:
        """What the journal calls it."""
        return f"{self.name}:{self.start}:{self.stop}"


def split(units: Sequence[Unit], parts: int, costs: Mapping[str, int]) -> list[list[Unit]]:
    """Cuts units into contiguous parts so that the most expensive part is as cheap as possible.

    units: sorted. costs: letter -> cost of one sample in a segment. Within a part and a chunk, a
    schedule and the one before it run the segments that both begin with only once. Returns [parts]
    lists; the last ones are empty where the units are too few.
    """

    def cost(unit: Unit, shared: int = 0) -> int:
        return (unit.stop - unit.start) * sum(costs[letter] for letter in unit.name[shared:])

    alone = [cost(unit) for unit in units]
    added = [
        cost(unit, len(commonprefix([before.name, unit.name])) if before[:2] == unit[:2] else 0)
        for before, unit in zip(units, units[1:])
    ]

    def starts(limit: int) -> list[int]:
        """Index of the first unit of each part, when a part ends only where its cost would exceed
        the limit.
        """
        indices, spent = [], inf
        for i, more in enumerate([0, *added]):
            spent += more
            if spent > limit:
                indices.append(i)
                spent = alone[i]
        return indices

    if not units:
        return [[] for _ in range(parts)]
    limits = range(max(alone), sum(alone) + 1)
    least = bisect_left(limits, True, key=lambda limit: len(starts(limit)) <= parts)
    edges = starts(limits[least])
    edges += [len(units)] * (parts + 1 - len(edges))
    return [list(units[start:stop]) for start, stop in zip(edges, edges[1:])]
