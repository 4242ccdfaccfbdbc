"""Which schedules can still be among the best: elimination by paired tests, with a bound on its
errors.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Elimination:
    """Looks for the schedules of least mean; drops the others as soon as the samples tell."""

    top: int = 5
    """Number of best schedules to find."""
    confidence: float = 0.95
    """Probability with which none of them is dropped."""

    def level(self, schedules: int, looks: int) -> float:
        """Level of one comparison, when `schedules` are looked at `looks` times.

        A schedule is dropped when at least `top` others are better, by a test each. Fewer than
        `top` others are truly better than one of the best, so to drop that one wrongly a test must
        err for one of the others, which are at most schedules - top. By Bonferroni over these, the
        best themselves, and the looks: (1 - confidence) / (top (schedules - top) looks).
        """
        return (1 - self.confidence) / (self.top * max(1, schedules - self.top) * max(1, looks))

    def running(self, values: np.ndarray, level: float) -> np.ndarray:
        """[S] whether each schedule stays.

        values: [S, n], smaller is better, a column per random number. Each schedule is compared
        with each other by a one-sided paired t-test: exact for normal differences, and by the
        central limit theorem close to it after some dozens of samples.
        """
        return np.array(
            [self._better_than(row - values, level) < self.top for row in values], dtype=bool
        )

    def _better_than(self, differences: np.ndarray, level: float) -> int:
        """Number of schedules that are better than one at the level.

        differences: [S, n], that schedule's values minus those of each.
        """
        n = differences.shape[1]
        if n < 2:
            return 0
        error = differences.std(1, ddof=1) / np.sqrt(n)
        return int((differences.mean(1) > error * stats.t.isf(level, n - 1)).sum())
