"""The cheapest schedule for every amount of saving: exact dynamic programming over the steps."""

import math
from collections import deque

import numpy as np

from stepimp.errors import StepimpError
from stepimp.memory import free_memory, size
from stepimp.schedules.schedule import Schedule


class Frontier:
    """The cheapest schedules under limits on their segments, for B cost tables at once.

    segments: the most a schedule may have; shortest: the fewest steps of one.
    costs: model -> [B, T] cost of each step, the start of sampling first; gains: model -> whole
    units saved by a step that runs it. After construction `cost` is [B, S + 1]: the least summed
    cost at each saving, inf where no schedule saves exactly that much.

    State after step i: (segments so far - 1, model, units saved). A segment begins with its first
    `shortest` steps at once and then grows by single steps; `_entered` notes which, so that a
    schedule can be read back. A segment may follow one of the same model: that is one longer
    segment, counted twice, so it gains nothing and needs no rule.
    """

    def __init__(
        self, costs: dict[str, np.ndarray], gains: dict[str, int], segments: int, shortest: int = 1
    ):
        self.models, self.gains, self.shortest = list(costs), [gains[m] for m in costs], shortest
        self._costs = np.stack([costs[m] for m in self.models])  # [models, B, T]
        _, tables, self.steps = self._costs.shape
        self._shape = (segments, len(self.models), tables, self.steps * max(self.gains) + 1)
        self._require_memory()
        # 0: the segment grew; 1 + m: it began after model m
        self._entered = np.zeros((self.steps, *self._shape), dtype=np.uint8)
        # values after each of the last `shortest` steps, oldest first
        last = deque([np.full(self._shape, np.inf)], maxlen=shortest)
        for i in range(self.steps):
            now = np.full(self._shape, np.inf)
            self._grow(now, last[-1], i)
            if i + 1 == shortest:
                self._begin(now, i)
            elif len(last) == shortest:
                self._switch(now, last[0], i)
            last.append(now)
        self._final = last[-1].reshape(-1, *self._shape[2:])
        self.cost = self._final.min(0)

    def _require_memory(self):
        """Raises StepimpError, before anything is computed, where the tables do not fit."""
        states, free = math.prod(self._shape), free_memory()
        needed = states * (self.steps + 8 * (self.shortest + 2))
        if free is not None and needed > free:
            raise StepimpError(
                f"The optimum over T = {self.steps:,} steps and {self._shape[0]:,} segments takes "
                f"{size(needed)} of memory, and {size(free)} are free: choose fewer of either."
            )

    def _reach(self, steps: int) -> int:
        """Number of different savings possible after this many steps, zero included."""
        return steps * max(self.gains) + 1

    def _grow(self, now, before, i):
        """The current segment takes step i as well."""
        reach = self._reach(i)
        for m, gain in enumerate(self.gains):
            np.add(
                before[:, m, :, :reach],
                self._costs[m, :, i, None],
                out=now[:, m, :, gain : gain + reach],
            )

    def _first_steps(self, m, i):
        """[B] cost of the `shortest` steps of a model that end with step i, and what they save."""
        cost = self._costs[m, :, i + 1 - self.shortest : i + 1].sum(1)
        return cost, self.gains[m] * self.shortest

    def _begin(self, now, i):
        """The first segment begins."""
        for m in range(len(self.models)):
            cost, saved = self._first_steps(m, i)
            now[0, m, :, saved] = cost
            self._entered[i, 0, m, :, saved] = 1 + m

    def _switch(self, now, before, i):
        """A further segment begins after the cheapest way to have saved as much."""
        reach = self._reach(i + 1 - self.shortest)
        cheapest = before[:-1, 0, :, :reach].copy()
        source = np.ones((len(before) - 1, before.shape[2], reach), np.uint8)
        for other in range(1, len(self.models)):
            better = before[:-1, other, :, :reach] < cheapest
            np.copyto(cheapest, before[:-1, other, :, :reach], where=better)
            source[better] = 1 + other
        for m in range(len(self.models)):
            cost, saved = self._first_steps(m, i)
            value, place = cheapest + cost[:, None], np.s_[1:, m, :, saved : saved + reach]
            better = value < now[place]
            np.copyto(now[place], value, where=better)
            np.copyto(self._entered[i][place], source, where=better)

    def best(self, saving: int, table: int = 0) -> Schedule:
        """The cheapest schedule under one cost table that saves exactly `saving` units.

        Raises StepimpError where there is none.
        """
        if not np.isfinite(self.cost[table, saving]):
            raise StepimpError(
                "No schedule meets the budget within these limits: allow more or shorter segments."
            )
        cheapest = int(self._final[:, table, saving].argmin())
        k, m = map(int, np.unravel_index(cheapest, self._shape[:2]))
        left, models = self.steps, []
        while left > 0:
            source = int(self._entered[left - 1, k, m, table, saving])
            count = self.shortest if source else 1
            models += [self.models[m]] * count
            left, saving = left - count, saving - self.gains[m] * count
            if source and left:
                k, m = k - 1, source - 1
        return Schedule.of(reversed(models))
