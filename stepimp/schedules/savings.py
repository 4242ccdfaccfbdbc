"""What schedules can save within limits on their segments, whatever it costs."""

from itertools import combinations

import numpy as np


def reachable(gains: list[int], steps: int, segments: int, shortest: int) -> np.ndarray:
    """All savings of schedules of at most `segments` segments of at least `shortest` steps,
    ascending.

    gains: what a step of each model saves, in whole units. Only the number of steps that each gain
    has matters: its steps can be in one segment, which is as long or longer. So a schedule that
    uses n gains gives each `shortest` steps and shares out what remains.
    """
    possible = np.zeros(steps * max(gains) + 1, dtype=bool)
    distinct = sorted(set(gains))
    for count in range(1, min(segments, len(distinct), steps // shortest) + 1):
        spare = steps - count * shortest
        for smallest, *others in combinations(distinct, count):
            coins = [gain - smallest for gain in others]
            fewest = fewest_coins(coins, spare * max(coins, default=0))
            start = shortest * (smallest + sum(others)) + spare * smallest
            possible[start + np.flatnonzero(fewest <= spare)] = True
    return np.flatnonzero(possible)


def fewest_coins(coins: list[int], most: int) -> np.ndarray:
    """[most + 1] number of coins that sums from 0 to `most` take at least; greater than `most`
    where there is no way.
    """
    fewest = np.full(most + 1, 2 * most + 1)
    fewest[0] = 0
    for coin in coins:
        rows = np.arange(most // coin + 1)[:, None]
        by_remainder = np.full(len(rows) * coin, 2 * most + 1)
        by_remainder[: most + 1] = fewest
        ahead = np.minimum.accumulate(by_remainder.reshape(-1, coin) - rows, axis=0)
        fewest = (ahead + rows).ravel()[: most + 1]
    return fewest
