"""The optimiser against brute force."""

import math

import numpy as np
import pytest
from brute_force import every_schedule
from by_hand import hill, measured_curves

from stepimp.errors import StepimpError
from stepimp.schedules import costs, recommend
from stepimp.schedules.frontier import Frontier
from stepimp.schedules.savings import reachable
from stepimp.schedules.schedule import parse


@pytest.mark.parametrize(
    "gains", [{"h": 0, "a": 1}, {"h": 0, "a": 1, "b": 2}, {"h": 0, "a": 2, "b": 2, "c": 3}], ids=len
)
@pytest.mark.parametrize(
    "segments, shortest", [(1, 1), (2, 1), (3, 1), (3, 2), (6, 1), (2, 3), (3, 6)]
)
def test_the_frontier_equals_brute_force(gains, segments, shortest):
    steps = 6 if len(gains) > 3 else 7
    draw = np.random.default_rng(segments * 10 + shortest)
    table_costs = {m: draw.normal(size=(2, steps)) for m in gains}
    frontier = Frontier(table_costs, gains, segments, shortest)
    for table in range(2):
        best = {}
        for choice in every_schedule(gains, steps, segments, shortest):
            saving = sum(gains[m] for m in choice)
            cost = sum(table_costs[m][table, i] for i, m in enumerate(choice))
            best[saving] = min(best.get(saving, math.inf), cost)
        expected = [best.get(saving, math.inf) for saving in range(steps * max(gains.values()) + 1)]
        assert frontier.cost[table] == pytest.approx(expected)
        assert reachable(list(gains.values()), steps, segments, shortest).tolist() == sorted(best)
        for saving, cost in best.items():
            schedule = frontier.best(saving, table)
            models = schedule.by_step()[::-1]
            assert tuple(models) in set(every_schedule(gains, steps, segments, shortest))
            assert sum(gains[m] for m in models) == saving
            assert sum(table_costs[m][table, i] for i, m in enumerate(models)) == pytest.approx(
                cost
            )


def test_a_frontier_of_some_savings_is_a_part_of_the_whole_one():
    draw, gains = np.random.default_rng(0), {"h": 0, "a": 1, "b": 3}
    table_costs = {m: draw.normal(size=(3, 20)) for m in gains}
    whole = Frontier(table_costs, gains, segments=4, shortest=2)
    part = Frontier(table_costs, gains, segments=4, shortest=2, least=10, most=31)
    assert part.cost[:, 10:32].tolist() == whole.cost[:, 10:32].tolist()
    assert np.isinf(part.cost[:, [9, 32]]).all()
    for saving in (10, 17, 31):
        assert part.best(saving, 2) == whole.best(saving, 2)


def test_a_saving_nothing_can_reach_is_an_error():
    frontier = Frontier(
        {"h": np.zeros((1, 6)), "a": np.ones((1, 6))}, {"h": 0, "a": 1}, segments=2, shortest=3
    )
    assert np.isfinite(frontier.cost[0]).tolist() == [True, False, False, True, False, False, True]
    with pytest.raises(StepimpError, match="allow more or shorter segments"):
        frontier.best(2)


@pytest.mark.parametrize("by", recommend.OBJECTIVES)
def test_the_optimiser_minimises_what_is_reported(by):
    measurements = measured_curves({"a": hill, "b": np.square})
    rows = recommend.recommend(
        measurements,
        {"heavy": 4, "a": 1, "b": 2},
        0.4,
        steps=10,
        by=by,
        save_flops=True,
        segments=4,
    )["rows"]
    means = {
        model: np.nanmean(values, 1)
        for model, values in costs.cost_curves(measurements, by).items()
    }
    if by != "loss":  # token-weighted
        weights = measurements.tokens / measurements.tokens.sum(1, keepdims=True)
        means = {
            model: np.nansum(values * weights, 1)
            for model, values in costs.cost_curves(measurements, by).items()
        }
    models = parse(rows[0]["schedule"], "heavy").by_step()
    step_costs = [
        np.interp((i + 1) / 10, measurements.times, means[model]) for i, model in enumerate(models)
    ]
    assert rows[0]["objective"] == pytest.approx(np.mean(step_costs))
    assert rows[0]["objective_low"] <= rows[0]["objective"] <= rows[0]["objective_high"]
    best = min(
        sum(np.interp((i + 1) / 10, measurements.times, means[m]) for i, m in enumerate(choice))
        / 10
        for choice in every_schedule(["heavy", "a", "b"], 10, 4)
        if sum({"heavy": 0, "a": 3, "b": 2}[m] for m in choice) >= 0.4 * 40
    )
    assert rows[0]["objective"] == pytest.approx(best)
