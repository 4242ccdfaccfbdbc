"""The cheapest schedule for one budget at many steps: the dynamic programme of `frontier` where
bounds do not rule it out.

A price p for each unit saved turns costs into reduced costs, c - p g, whose cheapest schedules need
no count of the units: a pass over steps and segments gives them. By weak duality any part of a
schedule that saves s units costs at least its reduced optimum plus p s. So a segment that ends at
some step with s units saved costs at least the bound of what is before plus that of what is after,
and where this is above a limit it need not be looked at. The optimum among what remains is the
optimum if it meets the limit; if it does not, the limit is raised.
"""

import numpy as np

from stepimp.errors import StepimpError
from stepimp.schedules.frontier import Frontier, Progress, Windows, ignored, running_sums
from stepimp.schedules.schedule import Schedule

MOST_BYTES = 2_000_000_000
ZOOMS = 8
PRICES = 9  # that are compared at once
SPREAD = 4.0 ** -np.arange(1, 7)  # of the prices that bound, about the best, in units of the range
FIRST_SLACK = 1e-8  # of the sum of all absolute costs
LARGER = 16  # times the slack where it was too small
BOUNDS_SHARE = 40  # percent of the time that the bounds take
CHUNK = 10_000  # steps whose bounds are compared at once
ROUNDING = 1e-11  # of the same: what the order of a sum may change


def bytes_needed(gains: dict[str, int], steps: int, segments: int) -> int:
    """What `cheapest` takes at most before it has seen any cost, but for where segments may end."""
    states = segments * sum(max(gains.values()) + gain + 1 for gain in gains.values())
    bounds = (2 * len(SPREAD) + 1) * (2 * segments + 2 * len(gains))
    return 8 * steps * (states + bounds)


def refuse_too_large(gains: dict[str, int], steps: int, segments: int):
    """Raises StepimpError for a search that would take more than MOST_BYTES of memory."""
    needed = bytes_needed(gains, steps, segments)
    if needed > MOST_BYTES:
        fit = steps * MOST_BYTES // needed
        raise StepimpError(
            f"The search for the best of T = {steps:,} steps, {len(gains)} models and {segments} "
            f"segments would take {needed / 1e9:.1f} GB of memory; the most is "
            f"{MOST_BYTES / 1e9:.1f} GB, which is enough for T = {fit:,}. Take fewer steps and "
            "stretch the schedule: its boundaries stay at the same t."
        )


class Bounds:
    """Least reduced costs of what comes before and after the end of a segment.

    costs, gains, segments, shortest: as for `Frontier`, with B = 1. least, most: units to save.
    progress: counts the zooms to the best price.
    """

    def __init__(self, costs, gains, segments, shortest, least, most, progress: Progress = ignored):
        self._progress = progress
        self._gains, self._segments, self._shortest = list(gains.values()), segments, shortest
        self._sums = [running_sums(costs[model])[0] for model in gains]  # each [T + 1]
        self.steps, self._least, self._most = len(self._sums[0]) - 1, least, most
        per_step = np.stack([costs[model][0] for model in gains])
        self.range = 2 * float(np.ptp(per_step)) + np.finfo(float).tiny
        self.scale = float(np.abs(per_step).sum(1).max())
        self.price, self.total = self._best_price()
        offsets = np.concatenate([-SPREAD, [0.0], SPREAD]) * self.range
        self._prices = self.price + offsets
        self._before, self._after = self.before(self._prices)[0], self.after(self._prices)

    def _saved(self, prices: np.ndarray, already=0) -> np.ndarray:
        """Least value of what a schedule saves, of [least, most] less the units saved already."""
        return np.minimum(prices * (self._least - already), prices * (self._most - already))

    def _best_price(self) -> tuple[float, float]:
        """The price whose bound on the whole schedule is greatest, and that bound: it is concave
        in the price.
        """
        low, high = -self.range, self.range
        for zoom in range(ZOOMS):
            self._progress(zoom, ZOOMS)
            prices = np.linspace(low, high, PRICES)
            bounds = self.before(prices)[1] + self._saved(prices)
            best = int(bounds.argmax())
            low, high = prices[max(0, best - 1)], prices[min(PRICES - 1, best + 1)]
        return float(prices[best]), float(bounds[best])

    def _reduced(self, prices: np.ndarray) -> list[np.ndarray]:
        """[T + 1, P] reduced cost of each model's first steps."""
        steps = np.arange(self.steps + 1)[:, None]
        return [
            sums[:, None] - prices * gain * steps for sums, gain in zip(self._sums, self._gains)
        ]

    def before(self, prices: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """[T + 1, P] least reduced cost of the first steps in 1, 2, ... segments, for all but the
        last; and [P], that of all steps in any number.
        """
        reduced, delay = self._reduced(prices), self._shortest
        ended = [np.full(reduced[0].shape, np.inf)]
        ended[0][0] = 0.0  # no segment yet, no step
        for _ in range(self._segments):
            least = np.full(reduced[0].shape, np.inf)
            for sums in reduced:
                begun = np.minimum.accumulate(ended[-1] - sums)[: len(sums) - delay]
                np.minimum(least[delay:], begun + sums[delay:], out=least[delay:])
            ended.append(least)
        return ended[1:-1], np.min([least[-1] for least in ended[1:]], axis=0)

    def after(self, prices: np.ndarray) -> list[np.ndarray]:
        """[T + 1, P] least reduced cost of the steps that remain in at most 1, 2, ... segments."""
        reduced, delay = self._reduced(prices), self._shortest
        left = [np.full(reduced[0].shape, np.inf)]
        left[0][-1] = 0.0
        for _ in range(self._segments - 1):
            least = left[-1].copy()
            for sums in reduced:
                ending = np.minimum.accumulate((left[-1] + sums)[::-1])[::-1][delay:]
                length = len(sums) - delay
                np.minimum(least[:length], ending - sums[:length], out=least[:length])
            left.append(least)
        return left[1:]

    def windows(self, limit: float) -> Windows:
        """Where segments of schedules that cost at most `limit` may end."""
        everywhere = Windows.all(self.steps, self._gains, self._shortest, self._least, self._most)
        ends = np.arange(0, len(everywhere.steps) + CHUNK, CHUNK)
        parts = [
            self._windows(Windows(*(each[a:b] for each in vars(everywhere).values())), limit)
            for a, b in zip(ends, ends[1:])
        ]
        return Windows(*(np.concatenate(each) for each in zip(*(vars(p).values() for p in parts))))

    def _windows(self, everywhere: Windows, limit: float) -> Windows:
        """`windows` within others."""
        at, prices = everywhere.steps, self._prices
        low = np.full(len(at), np.iinfo(int).max)
        high = np.full(len(at), -1)
        for ended, left in zip(self._before, reversed(self._after)):
            # for a price p before and a price q after: (p - q) s <= room
            room = limit - ended[at][:, :, None] - (left[at] + self._saved(prices))[:, None, :]
            first, last = interval(room, prices[:, None] - prices)
            first, last = np.maximum(first, everywhere.low), np.minimum(last, everywhere.high)
            possible = first <= last
            low[possible] = np.minimum(low[possible], first[possible])
            high[possible] = np.maximum(high[possible], last[possible])
        some = low <= high
        return Windows(at[some], low[some], high[some])


def interval(room: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[E] least and greatest whole s with slope s <= room everywhere; the least is above the
    greatest where there is none. room: [E, P, P]; slope: [P, P].
    """
    up, down = slope > 0, slope < 0
    last = np.floor((room[:, up] / slope[up]).min(1))
    first = np.ceil((room[:, down] / slope[down]).max(1))
    none = (room[:, slope == 0] < 0).any(1)
    return np.where(none, np.inf, first), last


def cheapest(
    costs: dict[str, np.ndarray],
    gains: dict[str, int],
    segments: int,
    shortest: int,
    least: int,
    most: int,
    progress: Progress = ignored,
) -> Schedule:
    """The cheapest schedule that saves from `least` to `most` units, under one cost table.

    costs, gains, segments, shortest: as for `Frontier`. progress: counts hundredths, first of the
    bounds, then of the dynamic programme, which may begin again with a larger limit. Raises
    StepimpError where there is none.
    """

    def bounded(done: int, total: int):
        progress(BOUNDS_SHARE * done // total, 100)

    def searched(done: int, total: int):
        progress(BOUNDS_SHARE + (100 - BOUNDS_SHARE) * done // total, 100)

    bounds = Bounds(costs, gains, segments, shortest, least, most, bounded)
    slack = FIRST_SLACK * bounds.scale
    while True:
        limit = bounds.total + slack
        windows = bounds.windows(limit + ROUNDING * bounds.scale)
        frontier = Frontier(costs, gains, segments, shortest, least, most, windows, searched)
        saving = int(frontier.cost[0].argmin())
        if frontier.cost[0, saving] <= limit or slack > LARGER * bounds.scale:
            return frontier.best(saving)
        slack *= LARGER
