"""From curves over n to plans of steps and models: the best one under a budget, and the frontier of
cost against nats, beside schedules of a fixed number of steps.
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
from stepimp.rows import FixedRow, PlanRow
from stepimp.schedules.plan import Plan
from stepimp.schedules.plan_frontier import PlanFrontier
from stepimp.schedules.predicted import Predictor, cost
from stepimp.schedules.schedule import LIGHT_SHARE, Schedule, sandwich

OBJECTIVES = {"nelbo": "nelbo", "kl": "chain"}
"""What a plan minimises -> the curve of `costs.cost_curves` that a group costs."""
MOST_ROWS = 8192  # of the table over budgets
FRONTIER_POINTS = 40
FIXED_POINTS = 12


def pass_units(blocks: Mapping[str, int], heavy: str, passes: float) -> dict[str, int]:
    """model -> cost of a forward pass in whole units.

    Blocks in their largest common unit, which is exact. Where `passes` of the heavy model have more
    than MOST_ROWS of these units, as costs in FLOPs do, they are rounded up to larger ones, so that
    no plan costs more than is said.
    """
    common = math.gcd(*blocks.values())
    most = max(1, int(MOST_ROWS / passes))
    if blocks[heavy] // common <= most:
        return {model: count // common for model, count in blocks.items()}
    return {model: math.ceil(count * most / blocks[heavy]) for model, count in blocks.items()}


def even_plan(positions: int, passes: int, model: str) -> Plan:
    """A plan of one model whose groups differ by one token at most, the smaller ones first."""
    ends = np.arange(passes + 1) * positions // passes
    return Plan(tuple((model, int(size)) for size in np.diff(ends)))


def plan(
    measurements: Measurements,
    blocks: Mapping[str, int],
    forwards: float,
    budget: float = 1.0,
    *,
    by: str = "nelbo",
    seed: int = 0,
) -> dict[str, Any]:
    """The plan of least cost that takes at most `budget` times the blocks of `forwards` passes of
    the heavy model.

    measurements: curves over n. by: "nelbo", or "kl": the KL from the chain of the heavy model that
    reveals one token at a time, with the heavy model's own predictions in the place of the text.
    Returns
      rows      `PlanRow`s: the recommendation, then the best of one model alone and even groups of
                the heavy model at the same budget,
      frontier  `PlanRow`s: the best plan for budgets from one pass to one heavy pass per token,
      fixed     `FixedRow`s: schedules of T steps for several T,
    each with its expected cost and a 95% band. Raises StepimpError where the budget allows no pass.
    """
    heavy = measurements.heavy
    models = (heavy, *measurements.lights)
    predictor = Predictor(measurements, blocks, OBJECTIVES[by], None, seed)
    positions, curves = predictor.positions, predictor.curves["objective"]
    if by == "kl":  # above the heavy model that reveals one token at a time
        floor = curves[heavy].mean(1, keepdims=True)
        curves = {m: values - floor for m, values in curves.items()}
        predictor.curves["objective"] = curves
    # No plan costs more than one pass of the deepest model per token.
    spent = min(forwards * budget, positions * max(blocks[m] for m in models) / blocks[heavy])
    passes = max(positions, math.ceil(spent))
    units = pass_units({m: blocks[m] for m in models}, heavy, passes)
    allowed = math.floor(spent * units[heavy] + 1e-9)
    measured = {m: curves[m][0] for m in models}
    frontier = PlanFrontier(measured, units, passes * units[heavy])
    if allowed < min(units.values()):
        raise StepimpError(
            f"{forwards * budget:g} passes of {heavy} are less than one pass of the smallest "
            "model: allow more."
        )
    best = frontier.best(allowed)
    light = measurements.lights[0] if len(measurements.lights) == 1 else None
    named = {"recommended": best}
    for model in models:
        if units[model] <= allowed:
            alone = PlanFrontier({model: measured[model]}, units, allowed)
            named[f"best of {model} alone"] = alone.best(allowed)
    if units[heavy] <= allowed:
        count = min(positions, allowed // units[heavy])
        named[f"even groups of {heavy}"] = even_plan(positions, count, heavy)
    best_cost = cost(predictor.shares(best), curves)

    def row(name: str, chosen: Plan) -> dict[str, Any]:
        difference = cost(predictor.shares(chosen), curves) - best_cost
        return plan_row(name, chosen, predictor, light) | bootstrap(difference).columns(
            "objective_diff_nats"
        )

    return {
        "rows": [typed(PlanRow, row(name, chosen)) for name, chosen in named.items()],
        "frontier": [
            typed(PlanRow, row("best", frontier.best(b))) for b in spread_budgets(frontier)
        ],
        "fixed": [
            typed(FixedRow, fixed) for fixed in fixed_rows(predictor, heavy, measurements.lights)
        ],
    }


def plan_row(name: str, chosen: Plan, predictor: Predictor, light: str | None) -> dict[str, Any]:
    """The columns of a `PlanRow`, apart from the difference to the recommendation."""
    by_model = ", ".join(f"{chosen.forwards_of(m)} of {m}" for m in chosen.models)
    return predictor.row(name, chosen, light) | {"passes": by_model}


def spread_budgets(frontier: PlanFrontier) -> list[int]:
    """Budgets from the smallest to the largest at which a plan gets better, at most
    FRONTIER_POINTS, at equal ratios.
    """
    least = frontier.least[:, -1]
    better = np.flatnonzero(np.diff(np.nan_to_num(least, posinf=1e300)) < 0) + 1
    if least[0] < np.inf or not len(better):
        return [0]
    aims = np.geomspace(better[0], better[-1], FRONTIER_POINTS)
    nearest = better[np.abs(better[:, None] - aims).argmin(0)]
    return [int(b) for b in np.unique(nearest)]


def fixed_rows(predictor: Predictor, heavy: str, lights: tuple[str, ...]) -> list[dict[str, Any]]:
    """Schedules of T steps, for T from 1 to 4 P at equal ratios: all-heavy, each light model at
    every step, and the sandwich with the shallowest light model at a quarter of the steps.
    """
    shallowest = min(lights, key=lambda model: predictor.blocks[model])
    rows = []
    for steps in np.unique(np.geomspace(1, 4 * predictor.positions, FIXED_POINTS).astype(int)):
        at_steps = predictor.with_steps(int(steps))
        named = {"all-heavy": Schedule.of([heavy] * steps)}
        named |= {f"all {light}": Schedule.of([light] * steps) for light in lights}
        if 0 < (light_steps := round(LIGHT_SHARE * steps)) < steps:
            named[f"sandwich of {shallowest}"] = sandwich(steps, light_steps, heavy, shallowest)
        for name, schedule in named.items():
            rows.append(at_steps.row(name, schedule, None) | {"steps": int(steps)})
    return rows


def plan_from(
    curves: dict, lights: list[str], forwards: float, budget: float, **options
) -> dict[str, Any]:
    """`plan` on a document of curves over n, with these of its light models.

    Besides what `plan` returns, "curves": the `CurveRow`s of these light models.
    """
    measurements = replace(Measurements.unpack(curves), lights=tuple(lights))
    document = plan(measurements, curves["blocks"], forwards, budget, **options)
    return document | {"curves": curve_rows(measurements, curves["params"]["seed"])}
