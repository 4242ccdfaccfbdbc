"""The best plan for every budget, against brute force and against plain loops."""

import itertools

import numpy as np
import pytest

from stepimp.errors import StepimpError
from stepimp.schedules.plan import Plan
from stepimp.schedules.plan_frontier import PlanFrontier


def compositions(total):
    """All ways to write a number as an ordered sum."""
    if not total:
        yield ()
    for first in range(1, total + 1):
        for rest in compositions(total - first):
            yield (first, *rest)


def plan_cost(plan, curves):
    """Summed cost by the definition. curves: n from P to 1."""
    n, total = plan.length, 0.0
    for model, tokens in plan.groups:
        total += tokens * curves[model][len(curves[model]) - n]
        n -= tokens
    return total


def units_of(plan, units):
    return sum(units[model] for model, _ in plan.groups)


CURVES = {
    "rising": lambda draw, p: np.sort(draw.uniform(0, 5, p))[::-1],
    "noisy": lambda draw, p: draw.uniform(0, 5, p),
    "negative": lambda draw, p: draw.normal(size=p),
    "equal": lambda draw, p: np.ones(p),
}


@pytest.mark.parametrize("shape", CURVES)
@pytest.mark.parametrize("units", [{"h": 3, "a": 1}, {"h": 2, "a": 2}, {"h": 5, "a": 2, "b": 3}])
def test_the_frontier_equals_brute_force(shape, units):
    positions, budget = 5, 5 * max(units.values())
    draw = np.random.default_rng(len(units))
    curves = {model: CURVES[shape](draw, positions) for model in units}
    frontier = PlanFrontier(curves, units, budget)
    least = np.full(budget + 1, np.inf)
    for sizes in compositions(positions):
        for models in itertools.product(units, repeat=len(sizes)):
            plan = Plan(tuple(zip(models, sizes)))
            spent = units_of(plan, units)
            least[spent] = min(least[spent], plan_cost(plan, curves))
    assert frontier.least[:, -1] == pytest.approx(np.minimum.accumulate(least))
    for b in range(min(units.values()), budget + 1):
        plan = frontier.best(b)
        assert units_of(plan, units) <= b and plan.length == positions
        assert plan_cost(plan, curves) == pytest.approx(frontier.least[b, -1])


def by_loops(curves, units, budget):
    """The recursion of the module as it is written there."""
    positions = len(next(iter(curves.values())))
    least = np.full((budget + 1, positions + 1), np.inf)
    least[:, 0] = 0
    for b in range(budget + 1):
        for n in range(1, positions + 1):
            least[b, n] = min(
                (
                    (n - j) * curves[m][positions - n] + least[b - cost, j]
                    for m, cost in units.items()
                    if cost <= b
                    for j in range(n)
                ),
                default=np.inf,
            )
    return least


@pytest.mark.parametrize("shape", CURVES)
def test_a_larger_table_equals_plain_loops(shape):
    draw, units = np.random.default_rng(1), {"h": 3, "a": 1, "b": 2}
    curves = {model: CURVES[shape](draw, 16) for model in units}
    expected = np.minimum.accumulate(by_loops(curves, units, 40))
    assert PlanFrontier(curves, units, 40).least == pytest.approx(expected)


def test_a_smaller_number_of_positions_has_its_own_plan():
    draw, units = np.random.default_rng(2), {"h": 3, "a": 1}
    curves = {model: CURVES["rising"](draw, 8) for model in units}
    frontier = PlanFrontier(curves, units, 12)
    tail = {model: values[3:] for model, values in curves.items()}
    plan = frontier.best(7, positions=5)
    assert plan.length == 5
    assert plan_cost(plan, tail) == pytest.approx(PlanFrontier(tail, units, 7).least[7, 5])


def test_a_budget_below_one_pass_is_an_error():
    frontier = PlanFrontier({"h": np.ones(3)}, {"h": 2}, 4)
    assert np.isinf(frontier.least[1, 3]) and frontier.best(2) == Plan((("h", 3),))
    with pytest.raises(StepimpError, match="below one forward pass"):
        frontier.best(1)
