"""From curves to schedules: the cheapest one under a budget, beside the hand-crafted ones.

Arrays over steps are in sampling order: index 0 is step T (t = 1), the last index is step 1.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from stepimp.columns import typed
from stepimp.curves.measurements import Measurements
from stepimp.curves.tables import Means, curve_rows
from stepimp.errors import StepimpError
from stepimp.progress import Progress, no_progress
from stepimp.rows import BoundaryRow, Objective, RecommendRow, TradeoffRow
from stepimp.schedules.cheapest import cheapest, refuse_too_large
from stepimp.schedules.costs import mean_curves, predict, saved_units, step_costs
from stepimp.schedules.frontier import Frontier
from stepimp.schedules.savings import reachable
from stepimp.schedules.schedule import (
    QUARTERS,
    Schedule,
    hand_crafted,
    saved_flops,
    stretched,
)

OBJECTIVES = get_args(Objective)
TRADEOFF_POINTS = 41
TRADEOFF_STEPS = 1000  # most T for the trade-off: boundaries to 0.001 in t
REOPTIMISED = 100  # resamples whose optimum is computed
REOPTIMISED_STEPS = 100  # T for that: boundaries to 0.01 in t


def meet(
    savings: np.ndarray, greatest: int, steps: int, budget: float, top: float, at_least: bool
) -> tuple[int, int]:
    """The least and the greatest saving that meet a budget, in units.

    savings: those that schedules of this many steps can have; greatest: what they save where all
    steps save most; top: the budget that this meets. Raises StepimpError where none meets it.
    """
    budgets = savings / greatest * top
    if at_least:
        good = savings[budgets >= budget - 1e-9]
    else:
        good = savings[np.round(budgets * steps) == round(budget * steps)]
    if not len(good):
        below = budgets[budgets <= budget].max(initial=0)
        above = budgets[budgets >= budget].min(initial=budgets.max())
        raise StepimpError(
            f"A budget of {budget:g} cannot be met within the limits; the nearest that can: "
            f"{below:g}, {above:g}."
        )
    return int(good[0]), int(good[-1])


def boundaries(
    best: Schedule, means: Means, times, gains: dict, saving: int, segments: int, shortest: int
) -> dict[str, Any]:
    """How far the boundaries of a schedule move under the bootstrap, when it is optimised on each
    resample.

    Returns {"agreement": share of the resamples whose optimum has the same models in the same
    order, "moves": a `BoundaryRow` for each boundary, with the 95% range over those resamples}.
    """
    steps = min(best.steps, REOPTIMISED_STEPS)
    shortest = math.ceil(shortest * steps / best.steps)
    savings = reachable(list(gains.values()), steps, segments, shortest)
    aim = int(savings[np.abs(savings - saving * steps / best.steps).argmin()])
    resampled = {model: values[:, 1 : 1 + REOPTIMISED] for model, values in means.items()}
    costs = step_costs(resampled, times, steps)
    frontier = Frontier(costs, gains, segments, shortest, least=aim, most=aim)
    optima = [frontier.best(aim, table) for table in range(len(frontier.cost))]
    order = [model for model, _ in best.segments]
    same_order = [
        boundary_times(optimum)
        for optimum in optima
        if [model for model, _ in optimum.segments] == order
    ]
    moves = []
    for k, t in enumerate(boundary_times(best)):
        low = high = math.nan
        if same_order:
            low, high = map(float, np.percentile(np.array(same_order)[:, k], [2.5, 97.5]))
        row = {"before": order[k], "after": order[k + 1], "t": t, "t_low": low, "t_high": high}
        moves.append(typed(BoundaryRow, row))
    return {"agreement": len(same_order) / len(optima), "moves": moves}


def boundary_times(schedule: Schedule) -> list[float]:
    """t at which each segment but the first begins."""
    counts = np.cumsum([count for _, count in schedule.segments])[:-1]
    return [float(1 - count / schedule.steps) for count in counts]


def recommend(
    measurements: Measurements,
    blocks: dict[str, int],
    budget: float,
    *,
    steps: int = 1000,
    by: str = "kl",
    segments: int = 3,
    shortest: int = 1,
    save_flops: bool = False,
    seed: int = 0,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """The exact optimum under a budget, beside the hand-crafted schedules.

    budget: the fraction of steps that run light, met exactly, or with save_flops the saved FLOPs of
    formula (3), met at least. by: one of OBJECTIVES, see `costs.cost_curves`. segments: most
    segments; shortest: fewest steps in one. progress: of the search, see `cheapest`. Returns
      rows        `RecommendRow`s: the recommendation, then the others by their objective,
      tradeoff    `TradeoffRow`s: the best schedule for budgets from nothing to all; with more than
                  TRADEOFF_STEPS steps the boundaries of these lie on a grid of 1/TRADEOFF_STEPS,
      boundaries  how far the recommendation moves under the bootstrap, see `boundaries`.
    Raises StepimpError where nothing can be saved, no schedule meets the budget, or the search
    would take too much memory.
    """
    if by not in OBJECTIVES:
        raise StepimpError(f"Unknown objective {by!r}: choose one of {', '.join(OBJECTIVES)}.")
    if shortest > steps:
        raise StepimpError(
            f"Segments of at least {shortest} steps do not fit into T = {steps}: choose shorter "
            "ones."
        )
    heavy, times = measurements.heavy, measurements.times
    for model in (heavy, *measurements.lights):
        if model not in blocks:
            raise StepimpError(f"No number of blocks is given for {model}.")
    blocks = {m: blocks[m] for m in (heavy, *measurements.lights)}
    gains = saved_units(blocks, heavy, save_flops)
    refuse_too_large(gains, steps, segments)
    means = mean_curves(measurements, by, seed)
    measured = {model: values[:, :1] for model, values in means.items()}
    shallowest = min(measurements.lights, key=lambda m: blocks[m])
    top = 1 - blocks[shallowest] / blocks[heavy] if save_flops else 1.0
    savings = reachable(list(gains.values()), steps, segments, shortest)
    aims = meet(savings, steps * max(gains.values()), steps, budget, top, at_least=save_flops)
    coarse = min(steps, TRADEOFF_STEPS)
    frontier = Frontier(
        step_costs(measured, times, coarse), gains, segments, math.ceil(shortest * coarse / steps)
    )
    if coarse == steps:
        best = frontier.best(frontier.cheapest(*aims))
    else:
        costs = step_costs(measured, times, steps)
        best = cheapest(costs, gains, segments, shortest, *aims, progress)
    saving = sum(gains[model] * count for model, count in best.segments)
    light_steps = math.ceil(saving / gains[shallowest])  # of a sandwich that saves as much
    named = [
        ("recommended", best),
        *hand_crafted(steps, light_steps, heavy, shallowest).items(),
    ]
    described = named + [("best", stretched(each, steps)) for each in spread_out(frontier)]
    predictions = predict(measurements, [schedule for _, schedule in described], by, seed)
    rows = [
        describe(name, schedule, blocks, measurements) | prediction
        for (name, schedule), prediction in zip(described, predictions)
    ]
    first, *others = rows[: len(named)]
    ranked = [first, *sorted(others, key=lambda row: row["objective"])]
    return {
        "rows": [typed(RecommendRow, {"rank": i + 1, **row}) for i, row in enumerate(ranked)],
        "tradeoff": [typed(TradeoffRow, row) for row in rows[len(named) :]],
        "boundaries": boundaries(best, means, times, gains, saving, segments, shortest),
    }


def spread_out(frontier: Frontier) -> list[Schedule]:
    """The best schedules at savings from nothing to all, at most TRADEOFF_POINTS different ones."""
    savings = np.flatnonzero(np.isfinite(frontier.cost[0]))
    aims = np.linspace(0, savings.max(), TRADEOFF_POINTS)
    nearest = [savings[np.abs(savings - aim).argmin()] for aim in aims]
    return [frontier.best(int(saving)) for saving in np.unique(nearest)]


def describe(
    name: str, schedule: Schedule, blocks: dict[str, int], measurements: Measurements
) -> dict[str, Any]:
    """The columns of a `ScheduleRow`. With one light model the notation is H and L, with more it is
    by name.
    """
    heavy, lights = measurements.heavy, measurements.lights
    return {
        "name": name,
        "schedule": schedule.format(*((heavy, lights[0]) if len(lights) == 1 else ())),
        "light_fraction": 1 - schedule.fraction(heavy),
        "saved_flops": saved_flops(schedule, blocks, heavy),
    }


def schedules_to_verify(rows: list[RecommendRow]) -> list[RecommendRow]:
    """The rows worth sampling: the recommendation, the sandwich if any, the worst quarter and
    all-heavy.
    """
    worst = max((row for row in rows if row["name"] in QUARTERS), key=lambda row: row["objective"])
    names = ("recommended", "sandwich", worst["name"], "all-heavy")
    return [row for row in rows if row["name"] in names]


def scheduled_lights(curves: dict, lights: Iterable[str], save_flops: bool) -> list[str]:
    """The light models to schedule: those named, else all of the curves for saved FLOPs, else the
    shallowest. A fraction of light steps does not depend on depth, so only one is used.

    curves: a curves document. Raises StepimpError where it has no curve of a model named.
    """
    measured = curves["params"]["lights"]
    for light in lights:
        if light not in measured:
            raise StepimpError(
                f"{curves['path']} has no curve of {light!r}, only of {', '.join(measured)}."
            )
    if lights or save_flops:
        return list(dict.fromkeys(lights or measured))
    return [min(measured, key=curves["blocks"].get)]


def recommend_from(curves: dict, lights: list[str], budget: float, **options) -> dict[str, Any]:
    """`recommend` on a curves document, with these of its light models.

    Besides what `recommend` returns, "curves": the `CurveRow`s of these light models.
    """
    measurements = replace(Measurements.unpack(curves), lights=tuple(lights))
    advice = recommend(measurements, curves["blocks"], budget, **options)
    return advice | {"curves": curve_rows(measurements, curves["params"]["seed"])}


def kl_is_resolved(rows: list[dict], lights: list[str]) -> bool:
    """Whether the relative KL of one of the light models is anywhere above 0 by its 95% band; true
    without a baseline.
    """
    lows = [row.get("relative_kl_nats_low") for row in rows if row["model"] in lights]
    return any(low is None or low > 0 for low in lows)
