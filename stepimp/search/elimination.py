"""Which schedules can still be among the best: elimination by paired tests, with a bound on its
errors.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Race:
    """Looks for the `top` schedules of least mean; with probability `confidence` none of them is
    ever dropped.
    """

    top: int = 5
    confidence: float = 0.95

    def level(self, schedules: int, looks: int) -> float:
        """The level of one comparison.

        A schedule is dropped when at least `top` others are better by a test each. Fewer than `top`
        others are truly better than one of the best, so to drop that one wrongly a test must err
        for one of the others, which are at most schedules - top. By Bonferroni over these, the best
        themselves, and the looks: (1 - confidence) / (top (schedules - top) looks)."""
        return (1 - self.confidence) / (self.top * max(1, schedules - self.top) * max(1, looks))

    def running(self, values: np.ndarray, level: float) -> np.ndarray:
        """[S] whether each schedule stays. values: [S, n], smaller is better, column i of the same
        random numbers.

        Paired t-tests of each schedule against each other, one-sided: exact where differences are
        normal, and by the central limit theorem close to it after some dozens of samples."""
        return np.array([self._better_ones(own - values, level) < self.top for own in values])

    def _better_ones(self, differences, level) -> int:
        """How many of the others have a smaller mean beyond doubt. differences: [S, n] of one
        schedule to each.
        """
        n = differences.shape[1]
        if n < 2:
            return 0
        error = differences.std(1, ddof=1) / np.sqrt(n)
        return int((differences.mean(1) > error * stats.t.isf(level, n - 1)).sum())
