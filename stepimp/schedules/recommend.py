"""From curves to schedules: what a schedule costs (formulas 9 and 10), and the cheapest one under a
budget.

Arrays over steps are in sampling order: index 0 is step T (t = 1), the last index is step 1.
`Means` are curves with their bootstrap: model -> [times, 1 + R], the mean over sequences and that
of each resample."""

import math
from dataclasses import replace

import numpy as np

from stepimp.curves.measure import kl_rows, loss_rows
from stepimp.curves.measurements import Measurements
from stepimp.errors import StepimpError
from stepimp.schedules.costs import (
    Means,
    mean_curves,
    predict,
    saved_units,
    step_costs,
)
from stepimp.schedules.frontier import Frontier
from stepimp.schedules.schedule import QUARTERS, Schedule, hand_crafted, saved_flops

OBJECTIVES = ("kl", "loss", "nelbo")
TRADEOFF_POINTS = 41
REOPTIMISED = 100  # resamples whose optimum is found anew
REOPTIMISED_STEPS = 100  # T for that: boundaries to 0.01 in t


def meet(frontier: Frontier, budget: float, top: float, at_least: bool) -> int:
    """The saving that meets a budget at the least cost. top: the budget that saving all units at
    every step meets.
    """
    reachable = np.flatnonzero(np.isfinite(frontier.cost[0]))
    budgets = reachable / (frontier.cost.shape[1] - 1) * top
    if at_least:
        good = reachable[budgets >= budget - 1e-9]
    else:
        good = reachable[np.round(budgets * frontier.steps) == round(budget * frontier.steps)]
    if not len(good):
        below, above = (
            budgets[budgets <= budget].max(initial=0),
            budgets[budgets >= budget].min(initial=budgets.max()),
        )
        raise StepimpError(
            f"A budget of {budget:g} cannot be met within the limits; the nearest that can: {below:g}, {above:g}."
        )
    return int(good[frontier.cost[0, good].argmin()])


def boundaries(
    best: Schedule, means: Means, times, gains: dict, saving: int, segments: int, shortest: int
) -> dict:
    """How far the boundaries of a schedule move when the sequences are drawn again: it is optimised
    anew on resamples.

    Returns {"agreement": share of the resamples whose optimum has the same models in the same
    order, "moves": for each boundary of the schedule {"before", "after": models, "t", "t_low",
    "t_high": 95% of those resamples}}."""
    steps = min(best.steps, REOPTIMISED_STEPS)
    resampled = {model: values[:, 1 : 1 + REOPTIMISED] for model, values in means.items()}
    frontier = Frontier(
        step_costs(resampled, times, steps),
        gains,
        segments,
        math.ceil(shortest * steps / best.steps),
    )
    reachable = np.flatnonzero(np.isfinite(frontier.cost[0]))
    aim = int(reachable[np.abs(reachable - saving * steps / best.steps).argmin()])
    again = [frontier.best(aim, table) for table in range(len(frontier.cost))]
    order = [model for model, _ in best.segments]
    same = np.array(
        [boundary_times(one) for one in again if [model for model, _ in one.segments] == order]
    )
    moves = []
    for k, t in enumerate(boundary_times(best)):
        low, high = np.percentile(same[:, k], [2.5, 97.5]) if len(same) else (math.nan, math.nan)
        moves.append(
            {
                "before": order[k],
                "after": order[k + 1],
                "t": t,
                "t_low": float(low),
                "t_high": float(high),
            }
        )
    return {"agreement": len(same) / len(again), "moves": moves}


def boundary_times(schedule: Schedule) -> list[float]:
    """t at which each segment but the first begins."""
    counts = np.cumsum([count for _, count in schedule.segments])[:-1]
    return [float(1 - count / schedule.steps) for count in counts]


def recommend(
    found: Measurements,
    blocks: dict[str, int],
    budget: float,
    *,
    steps=1000,
    by="kl",
    segments=3,
    shortest=1,
    save_flops=False,
    seed=0,
) -> dict:
    """The exact optimum under a budget, beside the schedules people would write by hand.

    budget: the fraction of steps that run light, met exactly, or with save_flops the saved FLOPs of
    formula (3), met at least. by: see `cost_curves`. segments, shortest: most segments, fewest
    steps in one. Returns
      rows        the recommendation, then the others by their objective, with predictions,
      tradeoff    the best schedule for budgets from nothing to all, with predictions,
      boundaries  how far the recommendation moves under the bootstrap.
    Raises StepimpError where nothing can be saved or no schedule meets the budget.
    """
    if shortest > steps:
        raise StepimpError(
            f"Segments of at least {shortest} steps do not fit into T = {steps}: choose shorter ones."
        )
    blocks = {m: blocks[m] for m in (found.heavy, *found.lights)}
    gains, means = saved_units(blocks, found.heavy, save_flops), mean_curves(found, by, seed)
    point = {model: values[:, :1] for model, values in means.items()}
    frontier = Frontier(step_costs(point, found.times, steps), gains, segments, shortest)
    shallowest = min(found.lights, key=lambda m: blocks[m])
    top = 1 - blocks[shallowest] / blocks[found.heavy] if save_flops else 1.0
    saving = meet(frontier, budget, top, at_least=save_flops)
    best = frontier.best(saving)
    same_saving = math.ceil(saving / gains[shallowest])
    named = [
        ("recommended", best),
        *hand_crafted(steps, same_saving, found.heavy, shallowest).items(),
    ]
    plans = named + [("best", schedule) for schedule in spread_out(frontier)]
    predicted = predict(found, [schedule for _, schedule in plans], by, seed)
    rows = [describe(*plan, blocks, found) | values for plan, values in zip(plans, predicted)]
    first, *others = rows[: len(named)]
    ranked = [first, *sorted(others, key=lambda row: row["objective"])]
    return {
        "rows": [{"rank": i + 1, **row} for i, row in enumerate(ranked)],
        "tradeoff": rows[len(named) :],
        "boundaries": boundaries(best, means, found.times, gains, saving, segments, shortest),
    }


def spread_out(frontier: Frontier) -> list[Schedule]:
    """The best schedules at savings from nothing to all, at most TRADEOFF_POINTS different ones."""
    reachable = np.flatnonzero(np.isfinite(frontier.cost[0]))
    aims = np.linspace(0, reachable.max(), TRADEOFF_POINTS)
    return [
        frontier.best(int(saving))
        for saving in np.unique([reachable[np.abs(reachable - a).argmin()] for a in aims])
    ]


def describe(name: str, schedule: Schedule, blocks: dict[str, int], found: Measurements) -> dict:
    """Columns that need no curve. With one light model the notation is H and L, with more it is by
    name.
    """
    letters = (found.heavy, found.lights[0]) if len(found.lights) == 1 else (None, None)
    return {
        "name": name,
        "schedule": schedule.format(*letters),
        "light_fraction": 1 - schedule.fraction(found.heavy),
        "saved_flops": saved_flops(schedule, blocks, found.heavy),
    }


def schedules_to_verify(rows: list[dict]) -> list[dict]:
    """Of the rows of `recommend`: the recommendation, the sandwich if any, the worst quarter and
    all-heavy.
    """
    worst = max((row for row in rows if row["name"] in QUARTERS), key=lambda row: row["objective"])
    return [
        row
        for row in rows
        if row["name"] in ("recommended", "sandwich", worst["name"], "all-heavy")
    ]


def recommend_from(document: dict, lights: list[str], budget: float, **options) -> dict:
    """`recommend` on a results document of `kl` or `loss`, with these of its light models.

    Besides what `recommend` returns, the curves it read: those of the light models, as `kl` and
    `loss` report them."""
    found = Measurements.unpack(document)
    for light in lights:
        if light not in found.lights:
            raise StepimpError(
                f"{document['path']} has no curve of {light!r}, only of {', '.join(found.lights)}."
            )
    found = replace(found, lights=tuple(lights))
    seed = document["params"]["seed"]
    curves = [kl | loss for kl, loss in zip(kl_rows(found, seed), loss_rows(found, seed))]
    return recommend(found, document["blocks"], budget, **options) | {"curves": curves}
