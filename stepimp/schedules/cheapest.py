"""The cheapest schedule for one budget at many steps: the dynamic programme of `frontier` where
bounds do not rule it out.

A price p for each unit saved turns costs into reduced costs, c - p g, whose cheapest schedules need
no count of the units: a pass over steps and segments gives them. By weak duality any part of a
schedule that saves s units costs at least its reduced optimum plus p s. So a segment that ends at
some step with s units saved costs at least the bound of what is before plus that of what is after,
and where this is above a limit it need not be looked at. Nor where both have the same model: the
two segments are one. The optimum among what remains is the optimum if it meets the limit; if it
does not, the limit is raised.
"""

import functools
import itertools
from collections.abc import Iterable

import numpy as np

from stepimp.errors import StepimpError
from stepimp.progress import Progress, no_progress
from stepimp.schedules.frontier import Frontier, Windows, running_sums
from stepimp.schedules.schedule import Schedule

MOST_BYTES = 2_000_000_000
ZOOMS = 8
COARSE = 10_000  # steps, about, of the grid on which the price is looked for
PRICES = 9  # that are compared at once
SPREAD = 4.0 ** -np.arange(4, 7)  # of the prices that bound, about the best, in units of the range
FIRST_SLACK = 1e-8  # of the sum of all absolute costs
LARGER = 16  # times the slack where it was too small
BOUNDS_SHARE = 40  # percent of the time that the bounds take
CHUNK = 10_000  # steps whose bounds are compared at once
ROUNDING = 1e-11  # of the same: what the order of a sum may change


def bytes_needed(gains: dict[str, int], steps: int, segments: int) -> int:
    """What `cheapest` takes at most before it has seen any cost, but for where segments may end."""
    states = segments * sum(max(gains.values()) + gain + 1 for gain in gains.values())
    bounds = max(PRICES, 2 * len(SPREAD) + 1) * (2 * segments + 2 * len(gains))
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

    def __init__(
        self, costs, gains, segments, shortest, least, most, progress: Progress = no_progress
    ):
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

    def _saved(self, prices: np.ndarray) -> np.ndarray:
        """Least value of what a schedule saves, which is from `least` to `most` units."""
        return np.minimum(prices * self._least, prices * self._most)

    def _best_price(self) -> tuple[float, float]:
        """The price whose bound on the whole schedule is greatest, and that bound: it is concave
        in the price.
        """
        low, high = -self.range, self.range
        stride = max(1, self.steps // COARSE)
        for zoom in range(ZOOMS):
            self._progress(zoom, ZOOMS)
            prices = np.linspace(low, high, PRICES)
            # Any price bounds; a coarse grid tells where the best one is.
            grid = stride if zoom < ZOOMS - 1 else 1
            bounds = self.before(prices, grid)[1] + self._saved(prices)
            best = int(bounds.argmax())
            low, high = prices[max(0, best - 1)], prices[min(PRICES - 1, best + 1)]
        return float(prices[best]), float(bounds[best])

    def _reduced(self, prices: np.ndarray, grid: int = 1) -> list[np.ndarray]:
        """[T + 1, P] reduced cost of each model's first steps; of every `grid`-th step, less."""
        steps = np.append(np.arange(0, self.steps, grid), self.steps)
        return [
            sums[steps, None] - prices * gain * steps[:, None]
            for sums, gain in zip(self._sums, self._gains)
        ]

    def before(self, prices: np.ndarray, grid: int = 1) -> tuple[list[np.ndarray], np.ndarray]:
        """[T + 1, P] least reduced cost of the first steps in 1, 2, ... segments, for all but the
        last; and [P], that of all steps in any number.

        grid: segments end at multiples of this many steps.
        """
        reduced, delay = self._reduced(prices, grid), -(-self._shortest // grid)
        ended = [nothing(reduced, at=0)]
        for _ in range(self._segments):
            ended.append(least_of(begun_after(ended[-1], sums, delay) for sums in reduced))
        return ended[1:-1], np.min([least[-1] for least in ended[1:]], axis=0)

    def after(self, prices: np.ndarray) -> list[np.ndarray]:
        """[T + 1, P] least reduced cost of the steps that remain in at most 1, 2, ... segments."""
        reduced = self._reduced(prices)
        left = [nothing(reduced, at=-1)]
        for _ in range(self._segments - 1):
            first = (ended_before(left[-1], sums, self._shortest) for sums in reduced)
            left.append(least_of(itertools.chain(left[-1:], first)))
        return left[1:]

    def switches(self, limit: float) -> np.ndarray:
        """[T + 1] whether schedules that cost at most `limit` may change their model after so many
        steps, by the best price.
        """
        price, delay = np.array([self.price]), self._shortest
        reduced, room = self._reduced(price), limit - self._saved(price)
        ended, left = [nothing(reduced, at=0)], [nothing(reduced, at=-1)]
        last, first = [], []  # by the segments so far or still to come, each by model
        for _ in range(self._segments - 1):
            last.append([begun_after(ended[-1], sums, delay) for sums in reduced])
            first.append([ended_before(left[-1], sums, delay) for sums in reduced])
            ended.append(least_of(last[-1]))
            left.append(least_of([left[-1], *first[-1]]))
        possible = np.zeros((self.steps + 1, 1), bool)
        for before, after in zip(last, reversed(first)):
            for m, n in itertools.permutations(range(len(reduced)), 2):
                possible |= before[m] + after[n] <= room
        return possible[:, 0]

    def windows(self, limit: float) -> Windows:
        """Where segments of schedules that cost at most `limit` may end."""
        everywhere = Windows.all(self.steps, self._gains, self._shortest, self._least, self._most)
        switching = self.switches(limit)[everywhere.steps]
        everywhere = Windows(*(each[switching] for each in vars(everywhere).values()))
        ends = np.arange(0, max(1, len(everywhere.steps)) + CHUNK, CHUNK)
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
        open_ends = low <= high
        return Windows(at[open_ends], low[open_ends], high[open_ends])


def nothing(reduced: list[np.ndarray], at: int) -> np.ndarray:
    """[T + 1, P] reduced cost of no segment at all: 0 at one end of the schedule."""
    cost = np.full(reduced[0].shape, np.inf)
    cost[at] = 0.0
    return cost


def begun_after(ended: np.ndarray, sums: np.ndarray, shortest: int) -> np.ndarray:
    """[T + 1, P] least reduced cost of the first steps whose last segment is of one model.

    ended: of the segments before it; sums: of the model's first steps.
    """
    cost = np.full(sums.shape, np.inf)
    begun = np.minimum.accumulate(ended - sums)
    np.add(begun[: len(sums) - shortest], sums[shortest:], out=cost[shortest:])
    return cost


def ended_before(left: np.ndarray, sums: np.ndarray, shortest: int) -> np.ndarray:
    """[T + 1, P] least reduced cost of the steps that remain, the first segment of one model.

    left: of the segments after it; sums: of the model's first steps.
    """
    cost = np.full(sums.shape, np.inf)
    length = len(sums) - shortest
    ending = np.minimum.accumulate((left + sums)[::-1])[::-1]
    np.subtract(ending[shortest:], sums[:length], out=cost[:length])
    return cost


def least_of(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """The minimum of arrays, of which two are in memory at once."""
    return functools.reduce(np.minimum, arrays)


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
    progress: Progress = no_progress,
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
            progress(100, 100)
            return frontier.best(saving)
        slack *= LARGER
