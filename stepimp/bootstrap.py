"""Confidence bands by bootstrap over sequences."""

import numpy as np

from stepimp import randomness

RESAMPLES = 1000


def resampled_means(values: np.ndarray, seed: int, weights: np.ndarray | None = None, resamples=RESAMPLES) -> np.ndarray:
    """Means over sequences: of those measured, then of each resample of them.

    values: [S, N], NaN where a sequence counts for nothing; weights: [S, N], else all count alike. Returns
    [S, 1 + resamples]. A resample draws N sequences with replacement, the same for all S statistics, so that sums and
    differences of them stay paired.
    """
    sequences = values.shape[1]
    draw = randomness.generator(seed, randomness.BOOTSTRAP).multinomial
    times_drawn = draw(sequences, np.full(sequences, 1 / sequences), size=resamples)
    times_drawn = np.concatenate([np.ones((1, sequences)), times_drawn]).T
    counted = np.isfinite(values) * (1.0 if weights is None else weights)
    total, weight = (counted * np.nan_to_num(values)) @ times_drawn, counted @ times_drawn
    return np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > 0)


def band(means: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `resampled_means` returned, [..., 1 + R] -> the mean and the ends of its 95% percentile band, [...] each.

    The ends are NaN where some resample held no sequence that counts.
    """
    low, high = np.percentile(means[..., 1:], [2.5, 97.5], axis=-1)
    return means[..., 0], low, high


def with_band(name: str, means: np.ndarray) -> dict[str, float]:
    """Columns name, name_low and name_high of one statistic. means: [1 + R]."""
    return {name + end: float(value) for end, value in zip(("", "_low", "_high"), band(means))}
