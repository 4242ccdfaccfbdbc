"""From curves over n to a schedule over n: the cheapest under a budget, beside the best over steps
at the same expected cost.

Arrays over n run from P, the number of positions that can be masked, to 1, as sampling does.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from stepimp.columns import typed
from stepimp.curves.measurements import Measurements
from stepimp.curves.tables import curve_rows
from stepimp.errors import StepimpError
from stepimp.intervals import bootstrap
from stepimp.rows import MaskedRow, MaskedTradeoffRow
from stepimp.schedules.costs import saved_units
from stepimp.schedules.frontier import Frontier
from stepimp.schedules.masked_costs import over_steps
from stepimp.schedules.masked_frontier import MaskedFrontier
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.predicted import Predictor, cost
from stepimp.schedules.recommend import TRADEOFF_POINTS
from stepimp.schedules.saved import AnySchedule
from stepimp.schedules.schedule import Schedule, hand_crafted

UNITS = 6000  # of saving in all, where expected forward passes have no common unit


def whole_units(forwards: np.ndarray, most: int) -> np.ndarray:
    """[P] expected forward passes in whole units: one each for events of one token, else `most` in
    all, but at least P.

    Sums from the start are rounded, so that a segment is off by less than a unit.
    """
    if np.all(forwards == 1):
        return np.ones(len(forwards), int)
    ends = np.cumsum(forwards) / forwards.sum() * max(most, len(forwards))
    return np.diff(np.rint(ends).astype(int), prepend=0)


def recommend_masked(
    measurements: Measurements,
    blocks: Mapping[str, int],
    budget: float,
    *,
    steps: int | None = 1000,
    by: str = "kl",
    segments: int = 3,
    save_flops: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """The best schedule over n under a budget, beside the best over steps and hand-crafted ones.

    measurements: curves over n. budget: the fraction of the expected forward passes that run light,
    or with save_flops the share of their FLOPs saved. steps: T of ancestral sampling; None: events
    of one token. The other options are those of `recommend.recommend`. Returns
      rows      `MaskedRow`s: the recommendation, then the others by their objective,
      tradeoff  `MaskedTradeoffRow`s: the best schedule over n for budgets from nothing to all.

    The budget is met to within half an event, or with save_flops at least. Exact for events of one
    token; with T steps the expected forward passes have no common unit and are rounded to 1 in
    `UNITS`. Raises StepimpError where nothing can be saved or no schedule meets the budget.
    """
    heavy = measurements.heavy
    predictor = Predictor(measurements, blocks, by, steps, seed)
    models = (heavy, *measurements.lights)
    gains = saved_units({m: blocks[m] for m in models}, heavy, save_flops)
    curves, positions = predictor.curves["objective"], predictor.positions
    units = whole_units(predictor.forwards, UNITS // max(gains.values()))
    over_masked = MaskedFrontier(
        {m: curves[m][0] * predictor.tokens for m in models},
        {m: gains[m] * units for m in models},
        segments,
    )
    by_steps = Frontier({m: over_steps(curves[m][:1], steps) for m in models}, gains, segments)
    shallowest = min(measurements.lights, key=lambda m: blocks[m])
    top = 1 - blocks[shallowest] / blocks[heavy] if save_flops else 1.0
    saving = meet(over_masked, budget, top, math.inf if save_flops else units.max() / 2)
    most = len(over_masked.cost) - 1

    def described(name: str, schedule: AnySchedule) -> dict[str, Any]:
        """What is predicted of a schedule, beside the best over steps at its cost."""
        rival = at_equal_cost(by_steps, share_of(schedule, predictor, gains))
        difference = cost(predictor.shares(schedule), curves) - cost(
            predictor.shares(rival), curves
        )
        light = measurements.lights[0] if len(measurements.lights) == 1 else None
        row = predictor.row(name, schedule, light)
        row["best_over_steps"] = rival.format(*((heavy, light) if light else ()))
        return row | bootstrap(difference).columns("over_steps_diff_nats")

    best = over_masked.best(saving)
    light_positions = math.ceil(positions * saving / most)
    named: dict[str, AnySchedule] = {
        "recommended": best,
        "best over steps": at_equal_cost(by_steps, saving / most),
    }
    for name, schedule in hand_crafted(positions, light_positions, heavy, shallowest).items():
        named[name] = MaskedSchedule.of(reversed(schedule.by_step()))
    first, *others = [described(name, schedule) for name, schedule in named.items()]
    ranked = [first, *sorted(others, key=lambda row: row["objective"])]
    tradeoff = [over_masked.best(saving) for saving in spread_out(over_masked, units.max() / 2)]
    return {
        "rows": [typed(MaskedRow, {"rank": i + 1, **row}) for i, row in enumerate(ranked)],
        "tradeoff": [
            typed(MaskedTradeoffRow, described("best", schedule)) for schedule in tradeoff
        ],
    }


def meet(frontier: MaskedFrontier, budget: float, top: float, slack: float) -> int:
    """The saving that meets a budget at the least cost, in units. top: the budget that the greatest
    saving meets; slack: units by which the budget may be missed, infinite for at least the budget.
    Raises StepimpError where no schedule meets it.
    """
    reachable, most = np.flatnonzero(np.isfinite(frontier.cost)), len(frontier.cost) - 1
    aim = budget / top * most
    if math.isinf(slack):
        good = reachable[reachable >= aim - 1e-9 * most]
    else:
        good = reachable[np.abs(reachable - aim) <= slack]
    if not len(good):
        below = reachable[reachable <= aim].max(initial=0) / most * top
        above = reachable[reachable >= aim].min(initial=most) / most * top
        raise StepimpError(
            f"A budget of {budget:g} cannot be met within the limits; the nearest that can: "
            f"{below:g}, {above:g}."
        )
    return int(good[frontier.cost[good].argmin()])


def spread_out(frontier: MaskedFrontier, slack: float) -> list[int]:
    """The cheapest savings near budgets from nothing to all, at most TRADEOFF_POINTS different
    ones.
    """
    reachable, most = np.flatnonzero(np.isfinite(frontier.cost)), len(frontier.cost) - 1
    aims = np.linspace(0, most, TRADEOFF_POINTS)
    nearest = np.unique(reachable[np.abs(reachable[:, None] - aims).argmin(0)])
    return sorted({meet(frontier, aim / most, 1.0, slack) for aim in nearest.tolist()})


def share_of(schedule: AnySchedule, predictor: Predictor, gains: Mapping[str, int]) -> float:
    """What a schedule saves, as a share of the most that can be saved, by expected passes."""
    passes = predictor.passes(schedule)
    saved = sum(gains[model] * count for model, count in passes.items())
    return saved / (max(gains.values()) * sum(passes.values()))


def at_equal_cost(by_steps: Frontier, share: float) -> Schedule:
    """The best schedule over steps that saves as much, or where no schedule saves exactly this, as
    little less as possible, which favours it.
    """
    reachable = np.flatnonzero(np.isfinite(by_steps.cost[0]))
    aim = share * (len(by_steps.cost[0]) - 1) + 1e-6
    return by_steps.best(int(reachable[reachable <= aim].max()))


def recommend_masked_from(
    curves: dict, lights: list[str], budget: float, **options
) -> dict[str, Any]:
    """`recommend_masked` on a document of curves over n, with these of its light models.

    Besides what `recommend_masked` returns, "curves": the `CurveRow`s of these light models.
    """
    measurements = replace(Measurements.unpack(curves), lights=tuple(lights))
    advice = recommend_masked(measurements, curves["blocks"], budget, **options)
    return advice | {"curves": curve_rows(measurements, curves["params"]["seed"])}
