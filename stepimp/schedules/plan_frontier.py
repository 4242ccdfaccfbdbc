"""The best plan of steps and models for every budget: exact dynamic programming over (n, budget).

A group that begins with n masked positions and leaves j of them, run by model m, costs
(n - j) CE_m(n) nats, since its tokens are drawn independently given the same state. With `least[b,
n]`, the least cost of revealing all n with at most b units,

    least[b, n] = min over m and j < n of (n - j) CE_m(n) + least[b - units(m), j].

For one b and m the inner minimum over j is that of lines least[., j] - j x at x = CE_m(n): it lies
on the lower convex hull of the points (j, least[., j]), whose slopes are the isotonic regression of
the differences. So each row takes one regression and one binary search per n and model, not one
scan.
"""

from collections.abc import Mapping

import numpy as np
from scipy.optimize import isotonic_regression

from stepimp.errors import StepimpError
from stepimp.schedules.plan import Plan

ROUNDING = 1e-9  # nats by which a bound may be off


class PlanFrontier:
    """The cheapest plan at each budget.

    curves: model -> [P] cost per token of a group at n masked positions, n from P to 1; units:
    model -> whole units of one forward pass, at least 1; budget: the most units. After construction
    `least` is [budget + 1, P + 1]: summed cost of revealing n positions with at most b units, inf
    where no plan does.
    """

    def __init__(self, curves: Mapping[str, np.ndarray], units: Mapping[str, int], budget: int):
        self.models, self.units = list(curves), [units[m] for m in curves]
        self._curves = np.stack([curves[m][::-1] for m in self.models])  # [models, P], n from 1
        positions = self._curves.shape[1]
        self.least = np.full((budget + 1, positions + 1), np.inf)
        self.least[:, 0] = 0
        for b in range(budget + 1 - min(self.units)):
            if b:
                np.minimum(self.least[b], self.least[b - 1], out=self.least[b])
            self._put_group_before(b)
        for b in range(max(1, budget + 1 - min(self.units)), budget + 1):
            np.minimum(self.least[b], self.least[b - 1], out=self.least[b])

    def _put_group_before(self, b: int):
        """Lowers the costs of each model's larger budget by what one group of it costs at n,
        followed by the best that b units reveal of the rest.
        """
        reached = min(b // max(self.units), self._curves.shape[1])
        x = self._curves[:, reached:]  # b units already pay for one pass per token of fewer
        n = np.arange(reached + 1, reached + 1 + x.shape[1])
        rest = self.least[b]
        if np.isinf(rest[-1]):  # nothing is left to be revealed afterwards
            cost = n * x
        else:
            slopes = isotonic_regression(np.diff(rest)).x
            j = np.searchsorted(slopes, x)
            behind = j >= n  # but at least one token must be revealed
            j = np.minimum(j, n - 1)
            cost = rest[j] + (n - j) * x
            if behind.any():
                self._scan(cost, behind, n, b, slopes)
        for m, units in enumerate(self.units):
            if b + units < len(self.least):
                after = self.least[b + units, reached + 1 :]
                np.minimum(after, cost[m], out=after)

    def _scan(self, cost: np.ndarray, behind: np.ndarray, n: np.ndarray, b: int, slopes):
        """Lowers `cost` where the hull's minimum would leave n or more positions: the best j < n
        then lies between n - 1 and the last corner of the hull before it. Those whose bound, the
        hull at n - 1, is no better than what is there already are left alone.
        """
        corners = np.concatenate([[True], slopes[:-1] < slopes[1:]])
        last = np.maximum.accumulate(np.where(corners, np.arange(len(slopes)), 0))
        hull = np.concatenate([[0.0], np.cumsum(slopes)])
        budgets = np.minimum(b + np.array(self.units), len(self.least) - 1)
        present = self.least[budgets, n[0] :]
        x = self._curves[:, n[0] - 1 :]
        m, k = np.nonzero(behind & (hull[n - 1] + x < present + ROUNDING))
        revealed = 2
        while len(m):
            wide = n[k] - revealed >= last[n[k] - 1]
            m, k = m[wide], k[wide]
            wider = self.least[b, n[k] - revealed] + revealed * x[m, k]
            cost[m, k] = np.minimum(cost[m, k], wider)
            revealed += 1

    def best(self, budget: int, positions: int | None = None) -> Plan:
        """The cheapest plan of at most `budget` units. positions: of a smaller number of masked
        positions than P. Raises StepimpError where the budget allows no forward pass.
        """
        n = self._curves.shape[1] if positions is None else positions
        if np.isinf(self.least[budget, n]):
            raise StepimpError("The budget is below one forward pass of the smallest model.")
        groups = []
        while n:
            while budget and self.least[budget - 1, n] == self.least[budget, n]:
                budget -= 1
            choices = [
                (self.least[budget - units, :n] + np.arange(n, 0, -1) * self._curves[m, n - 1])
                if units <= budget
                else np.full(n, np.inf)
                for m, units in enumerate(self.units)
            ]
            m, j = divmod(int(np.argmin(choices)), n)
            groups.append((self.models[m], n - j))
            n, budget = j, budget - self.units[m]
        return Plan(tuple(groups))
