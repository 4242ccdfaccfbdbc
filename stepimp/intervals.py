"""95% intervals: an `Estimate`, Student's t over samples, and bootstrap bands over sequences.

Over samples the interval is Student's t with N - 1 degrees of freedom. A percentile bootstrap
covers too little for a few dozen samples (93% at N = 32, 88% at N = 8), and Student's t covers 95%
where the values are symmetric, as log-perplexities, entropies and paired differences are.
Perplexities and times are positive and skewed: their interval is symmetric on the log scale, which
covers 94% at N = 32 where the plain one covers 93% (log-normal with sigma 0.5; text has 0.2 to
0.5). Statistics over sequences that share their resamples, such as curves, use `resampled_means`.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from stepimp import randomness

RESAMPLES = 1000
SYMMETRIC = 0.1  # arms of an interval that differ by less than this share of its width look equal


class Estimate(NamedTuple):
    """A statistic and the ends of its 95% interval, NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @classmethod
    def of(cls, row: Mapping[str, Any], name: str) -> "Estimate":
        """The columns name, name_low and name_high of a row; NaN for a missing or null one."""
        cells = (row.get(name + end) for end in ("", "_low", "_high"))
        return cls(*(math.nan if cell is None else float(cell) for cell in cells))

    def columns(self, name: str) -> dict[str, float]:
        """The columns name, name_low and name_high of a row."""
        return {name + end: float(part) for end, part in zip(("", "_low", "_high"), self)}

    def scaled(self, factor: float) -> "Estimate":
        """The estimate of factor > 0 times the statistic."""
        return Estimate(*(factor * part for part in self))

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def text(self, digits: int | None = None) -> str:
        """`1.23 ±0.04`, or `1.23 [1.01, 1.90]` for an interval that is not symmetric.

        digits: decimals; by default four to six, so that the interval shows. "-" for NaN.
        """
        if math.isnan(self.value):
            return "-"
        if not self.half > 5e-7:
            return f"{self.value:.{4 if digits is None else digits}f}"
        if digits is None:
            digits = min(6, max(4, 1 - math.floor(math.log10(self.half))))
        if abs(self.low + self.high - 2 * self.value) <= SYMMETRIC * (self.high - self.low):
            return f"{self.value:.{digits}f} ±{self.half:.{digits}f}"
        return f"{self.value:.{digits}f} {self.brackets(digits)}"

    def brackets(self, digits: int = 2) -> str:
        """`[1.01, 1.90]`."""
        return f"[{self.low:.{digits}f}, {self.high:.{digits}f}]"


def ratio(values, weights=None, log_scale: bool = False, jointly: int = 1) -> Estimate:
    """sum(values) / sum(weights) over N samples; without weights the mean.

    The standard error is that of the ratio estimator (Cochran 1977, "Sampling techniques", ch. 6).
    values, weights: [N]. log_scale: the interval is symmetric on the log scale, for a positive
    statistic. jointly: number of intervals that must hold jointly at 95% (Bonferroni). A single
    sample has no interval: NaN.
    """
    values = np.asarray(values, dtype=float)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float)
    n, centre = len(values), values.sum() / weights.sum()
    if n < 2:
        return Estimate(float(centre))
    residuals = values - centre * weights  # the ratio's linearisation; they sum to 0
    error = np.sqrt((residuals**2).sum() / (n - 1) * n) / weights.sum()
    half = stdtrit(n - 1, 1 - 0.025 / jointly) * error
    if log_scale:
        low, high = centre * np.exp([-half / centre, half / centre])
    else:
        low, high = centre - half, centre + half
    return Estimate(float(centre), float(low), float(high))


def resampled_means(
    values: np.ndarray, seed: int, weights: np.ndarray | None = None, resamples=RESAMPLES
) -> np.ndarray:
    """Means over the measured sequences, followed by the means of each bootstrap resample (Efron
    and Tibshirani 1993, "An introduction to the bootstrap").

    values: [S, N], NaN where a sequence does not count; weights: [S, N], by default all equal.
    Returns [S, 1 + resamples]. A resample draws N sequences with replacement, the same ones for all
    S statistics, so that sums and differences of statistics stay paired.
    """
    sequences = values.shape[1]
    draw = randomness.generator(seed, randomness.BOOTSTRAP).multinomial
    times_drawn = draw(sequences, np.full(sequences, 1 / sequences), size=resamples)
    times_drawn = np.concatenate([np.ones((1, sequences)), times_drawn]).T
    counted = np.isfinite(values) * (1.0 if weights is None else weights)
    total, weight = (counted * np.nan_to_num(values)) @ times_drawn, counted @ times_drawn
    return np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > 0)


def bands(means: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means and the ends of their 95% percentile bands, [...] each.

    means: [..., 1 + R], what `resampled_means` returns. The ends are NaN where a resample held no
    sequence that counts.
    """
    low, high = np.percentile(means[..., 1:], [2.5, 97.5], axis=-1)
    return means[..., 0], low, high


def bootstrap(means: np.ndarray) -> Estimate:
    """One statistic with its percentile band. means: [1 + R], a row of `resampled_means`."""
    return Estimate(*map(float, bands(means)))
