"""The cheapest schedule for every amount of saving: exact dynamic programming over the places where
one segment ends and the next begins."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from stepimp.errors import StepimpError
from stepimp.progress import Progress, no_progress
from stepimp.schedules.schedule import Schedule

REPORTED = 10_000  # ends of segments between two reports


@dataclass(frozen=True)
class Windows:
    """Where a segment may end: after `steps` steps, with from `low` to `high` units saved so far.

    All [E], steps ascending.
    """

    steps: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def all(cls, steps: int, gains: list[int], shortest: int, least: int, most: int) -> "Windows":
        """The windows of all schedules that save from `least` to `most` units."""
        ends = np.arange(shortest, steps - shortest + 1)
        low = np.maximum(min(gains) * ends, least - max(gains) * (steps - ends))
        high = np.minimum(max(gains) * ends, most - min(gains) * (steps - ends))
        possible = low <= high
        return cls(ends[possible], low[possible], high[possible])


class Frontier:
    """The cheapest schedules under limits on their segments, for B cost tables at once.

    segments: the most a schedule may have; shortest: the fewest steps of one.
    costs: model -> [B, T] cost of each step, the start of sampling first; gains: model -> whole
    units saved by a step that runs it. least, most: the savings of interest, by default all. After
    construction `cost` is [B, S + 1], S the greatest saving: the least summed cost at each saving,
    inf where no schedule saves exactly that much or it is of no interest. windows: where segments
    may end, by default anywhere; schedules with another end of a segment are left out. progress:
    counts the ends that have been gone through, some at a time.

    With C_m(i) the cost of the first i steps of model m, a segment of m that began after e steps
    costs C_m(i) - C_m(e) and saves g_m (i - e). So a state is (segments so far, model, units saved
    less g_m i), and its value, the cost less C_m(i), stays as it is while the segment grows and
    changes only where a segment begins. A segment may follow one of the same model: that is one
    longer segment, counted twice, so it gains nothing and needs no rule.
    """

    def __init__(
        self,
        costs: dict[str, np.ndarray],
        gains: dict[str, int],
        segments: int,
        shortest: int = 1,
        least: int = 0,
        most: int | None = None,
        windows: Windows | None = None,
        progress: Progress = no_progress,
    ):
        self.models, self.gains, self.shortest = list(costs), [gains[m] for m in costs], shortest
        self.steps = next(iter(costs.values())).shape[1]
        self.greatest = self.steps * max(self.gains)
        most = self.greatest if most is None else most
        windows = windows or Windows.all(self.steps, self.gains, shortest, least, most)
        self._sums = [running_sums(costs[m]) for m in self.models]  # each [B, T + 1]
        tables = len(self._sums[0])
        self._values = [
            np.full((segments, tables, self.greatest + gain * self.steps + 1), np.inf)
            for gain in self.gains
        ]
        for gain, values in zip(self.gains, self._values):
            values[0, :, gain * self.steps] = 0
        # end of a segment -> its window's low, the model of the cheapest segment that ends there,
        # and bits: where the next segment of each model is the cheapest of its state so far
        self._ends: dict[int, tuple[int, np.ndarray, list[np.ndarray]]] = {}
        self._run(windows if segments > 1 else Windows(*np.zeros((3, 0), int)), progress)
        self._least = max(0, least)
        final = [self._at(m, self.steps, self._least, most) for m in range(len(self.models))]
        self._final = np.stack(final, axis=1).reshape(-1, tables, most - self._least + 1)
        self.cost = np.full((tables, self.greatest + 1), np.inf)
        self.cost[:, self._least : most + 1] = self._final.min(0)

    def _place(self, m: int, step: int, low: int, high: int) -> slice:
        """Where the states of a model with from `low` to `high` units saved after a step are."""
        start = low + self.gains[m] * (self.steps - step)
        return slice(start, start + high - low + 1)

    def _at(self, m: int, step: int, low: int, high: int, segments=slice(None)) -> np.ndarray:
        """[segments, B, high - low + 1] cost of the schedules whose last segment is of a model."""
        place = self._place(m, step, low, high)
        return self._values[m][segments, :, place] + self._sums[m][:, step, None]

    def _run(self, windows: Windows, progress: Progress):
        """Goes through the ends of segments; the next segments count when they are long enough."""
        begun: deque = deque()
        ends = zip(*map(np.ndarray.tolist, vars(windows).values()))
        for done, (step, low, high) in enumerate(ends, 1):
            if done % REPORTED == 0:
                progress(done, len(windows.steps))
            while begun and begun[0][0] + self.shortest <= step:
                self._begin(*begun.popleft())
            begun.append((step, low, high, *self._finish(step, low, high)))
        while begun and begun[0][0] + self.shortest <= self.steps:
            self._begin(*begun.popleft())

    def _finish(self, step, low, high):
        """[segments - 1, B, W] least cost of having finished a segment, and with which model."""
        cheapest = self._at(0, step, low, high, slice(-1))
        source = np.zeros(cheapest.shape, np.uint8)
        for m in range(1, len(self.models)):
            cost = self._at(m, step, low, high, slice(-1))
            better = cost < cheapest
            np.copyto(cheapest, cost, where=better)
            source[better] = m
        return cheapest, source

    def _begin(self, step, low, high, cheapest, source):
        """The next segment, of each model, where that is cheaper than to have begun it earlier."""
        bits = []
        for m, sums in enumerate(self._sums):
            value = cheapest - sums[:, step, None]
            before = self._values[m][1:, :, self._place(m, step, low, high)]
            bits.append(np.packbits(value < before, axis=-1))
            np.minimum(value, before, out=before)
        self._ends[step] = low, source, bits

    def cheapest(self, least: int, most: int, table: int = 0) -> int:
        """The saving from `least` to `most` units at the least cost; the smallest of equal ones."""
        return least + int(self.cost[table, least : most + 1].argmin())

    def best(self, saving: int, table: int = 0) -> Schedule:
        """The cheapest schedule under one cost table that saves exactly `saving` units.

        Raises StepimpError where there is none.
        """
        if not np.isfinite(self.cost[table, saving]):
            raise StepimpError(
                "No schedule meets the budget within these limits: allow more or shorter segments."
            )
        cheapest = int(self._final[:, table, saving - self._least].argmin())
        segment, m = divmod(cheapest, len(self.models))
        stop, backwards = self.steps, []
        for step in reversed(self._ends):
            if segment == 0 or step > stop - self.shortest:
                continue
            low, source, bits = self._ends[step]
            saved = saving - self.gains[m] * (stop - step)
            place = saved - low
            if not 0 <= place < source.shape[-1]:
                continue
            if bits[m][segment - 1, table, place >> 3] >> (7 - (place & 7)) & 1:
                backwards.append((self.models[m], stop - step))
                segment, m = segment - 1, int(source[segment - 1, table, place])
                stop, saving = step, saved
        backwards.append((self.models[m], stop))
        return Schedule.joined(reversed(backwards))


def running_sums(costs: np.ndarray) -> np.ndarray:
    """[B, T + 1] cost of the first 0 to T steps. costs: [B, T]."""
    return np.concatenate([np.zeros((len(costs), 1)), costs.cumsum(1)], axis=1)
