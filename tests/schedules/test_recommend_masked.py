"""The best schedule over n: the optimum, beside the best over steps at the same expected cost."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from by_hand import hill, measured_curves

from stepimp.errors import StepimpError
from stepimp.schedules import over_masked
from stepimp.schedules.frontier import Frontier
from stepimp.schedules.masked_costs import event_weights, over_steps
from stepimp.schedules.masked_frontier import MaskedFrontier
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.predicted import Predictor
from stepimp.schedules.recommend_masked import recommend_masked, whole_units

P = 6
BLOCKS = {"heavy": 4, "a": 1, "b": 2}


@pytest.fixture(scope="module")
def measurements():
    shapes = {"a": hill, "b": lambda t: 0.6 * np.square(t)}
    return replace(measured_curves(shapes, points=P), maskable=P)


def every_schedule(models, segments):
    for choice in itertools.product(models, repeat=P):
        schedule = MaskedSchedule.of(choice)
        if len(schedule.segments) <= segments:
            yield schedule


@pytest.mark.parametrize("by", ["kl", "nelbo", "loss"])
@pytest.mark.parametrize("save_flops, budget", [(False, 0.5), (True, 0.4)])
@pytest.mark.parametrize("segments", [2, 3])
def test_the_optimum_of_one_token_at_a_time_equals_brute_force(
    measurements, by, save_flops, budget, segments
):
    options = dict(steps=None, by=by, segments=segments, save_flops=save_flops)
    first = recommend_masked(measurements, BLOCKS, budget, **options)["rows"][0]
    predictor = Predictor(measurements, BLOCKS, by, None, 0)
    column = "saved_flops" if save_flops else "light_fraction"
    fits = [
        row["objective"]
        for schedule in every_schedule(BLOCKS, segments)
        for row in [predictor.row("", schedule, None)]
        if (row[column] >= budget - 1e-9 if save_flops else abs(row[column] - budget) < 1e-9)
    ]
    assert first["objective"] == pytest.approx(min(fits)) and first["name"] == "recommended"
    again = predictor.row("", over_masked.parse(first["schedule"], "heavy"), None)
    assert again["objective"] == first["objective"] and again[column] == first[column]


@pytest.mark.parametrize("steps", [2, 6, 40])
def test_with_t_steps_the_optimum_is_the_best_of_those_that_save_as_much(measurements, steps):
    rows = recommend_masked(measurements, BLOCKS, 0.4, steps=steps)["rows"]
    first = next(row for row in rows if row["name"] == "recommended")
    predictor = Predictor(measurements, BLOCKS, "kl", steps, 0)
    every = [predictor.row("", each, None) for each in every_schedule(BLOCKS, 3)]
    _, forwards = event_weights(P, steps)
    slack, rounding = forwards.max() / forwards.sum() / 2, 1 / 1000
    missed = [abs(row["light_fraction"] - 0.4) for row in every]
    assert abs(first["light_fraction"] - 0.4) <= slack + rounding
    fits = [row["objective"] for row, far in zip(every, missed) if far <= slack - rounding]
    assert first["objective"] <= min(fits) + 1e-12


def test_over_n_the_trade_off_is_nowhere_above_that_over_steps(measurements):
    """One token at a time: the convex hull of the best over n lies on or below the best over steps,
    each of which is a mixture of schedules over n.
    """
    curves = Predictor(measurements, BLOCKS, "kl", None, 0).curves["objective"]
    gains = {"heavy": 0, "a": 1, "b": 1}
    by_n = Frontier({m: curves[m][:1] for m in gains}, gains, P).cost[0] / P
    steps = {m: over_steps(curves[m][:1], None).reshape(1, 20, -1).mean(2) for m in gains}
    by_steps = Frontier(steps, gains, 4).cost[0] / 20
    hull = np.min(
        [
            by_n[a]
            + (np.arange(21) / 20 * P - a) / max(b - a, 1) * (by_n[b] - by_n[a])
            + np.where((np.arange(21) / 20 * P < a) | (np.arange(21) / 20 * P > b), np.inf, 0)
            for a in range(P + 1)
            for b in range(a, P + 1)
        ],
        axis=0,
    )
    assert (hull <= by_steps + 1e-9).all() and (hull < by_steps - 1e-4).any()


@pytest.mark.parametrize("steps", [None, 12])
def test_the_difference_to_the_best_over_steps_is_paired_and_at_equal_cost(measurements, steps):
    advice = recommend_masked(measurements, BLOCKS, 0.5, steps=steps)
    rows = {row["name"]: row for row in advice["rows"]}
    assert rows["best over steps"]["over_steps_diff_nats"] == pytest.approx(0, abs=1e-12)
    best, other = rows["recommended"], rows["best over steps"]
    assert other["schedule"] == best["best_over_steps"]
    gap = best["objective"] - other["objective"]
    assert best["over_steps_diff_nats"] == pytest.approx(gap)
    assert other["heavy_forwards"] == pytest.approx(best["heavy_forwards"], rel=0.12)
    width = best["over_steps_diff_nats_high"] - best["over_steps_diff_nats_low"]
    assert width < best["objective_high"] - best["objective_low"]
    objectives = [row["objective"] for row in advice["rows"][1:]]
    assert objectives == sorted(objectives)
    shares = [row["light_fraction"] for row in advice["tradeoff"]]
    assert shares[0] == 0 and shares[-1] == pytest.approx(1) and shares == sorted(shares)


@pytest.mark.parametrize("segments", [1, 2, 3, P])
def test_the_frontier_equals_brute_force_where_events_save_different_amounts(segments):
    draw = np.random.default_rng(segments)
    costs = {m: draw.normal(size=P) for m in "hab"}
    units = {"h": np.zeros(P, int), "a": draw.integers(0, 4, P), "b": draw.integers(0, 4, P)}

    def totals(schedule):
        models = schedule.by_masked()[::-1]
        return tuple(sum(table[m][k] for k, m in enumerate(models)) for table in (units, costs))

    frontier = MaskedFrontier(costs, units, segments)
    best = np.full(len(frontier.cost), np.inf)
    for schedule in every_schedule("hab", segments):
        saved, cost = totals(schedule)
        best[saved] = min(best[saved], cost)
    assert frontier.cost == pytest.approx(best)
    for saved in np.flatnonzero(np.isfinite(best)):
        schedule = frontier.best(int(saved))
        assert len(schedule.segments) <= segments
        assert totals(schedule) == pytest.approx((saved, best[saved]))


def test_a_share_that_cannot_be_met_is_an_error(measurements):
    with pytest.raises(StepimpError, match="the nearest that can: 0, 1"):
        recommend_masked(measurements, BLOCKS, 0.5, steps=None, segments=1)


@pytest.mark.parametrize("steps", [1, 3, 50])
def test_expected_passes_are_rounded_by_less_than_a_unit(steps):
    _, forwards = event_weights(20, steps)
    units = whole_units(forwards, 500)
    assert units.sum() == 500 and (units >= 0).all()
    exact = np.cumsum(forwards) / forwards.sum() * 500
    assert np.abs(np.cumsum(units) - exact).max() <= 0.5
    assert whole_units(np.ones(7), 500).tolist() == [1] * 7
