"""Predictions from curves over n, against chains that are enumerated from the definition."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from chains import (
    BLOCKS,
    MODELS,
    ancestral,
    exact_measurements,
    in_groups,
    nelbo,
    path_kl,
)

from stepimp.errors import StepimpError
from stepimp.schedules.masked_costs import event_weights, over_steps
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.predicted import Predictor
from stepimp.schedules.schedule import Schedule

LOSSES = {"nelbo_nats": nelbo, "path_kl_nats": path_kl}


@pytest.fixture(scope="module")
def measurements():
    return exact_measurements()


def predicted(measurements, schedule, steps):
    """The row of a schedule, and its forward passes by model."""
    predictor = Predictor(measurements, BLOCKS, "kl", steps, 0)
    return predictor.row("", schedule, None), predictor.passes(schedule)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("models", [("heavy", "a", "b"), ("a", "heavy", "heavy"), ("b",) * 3])
@pytest.mark.parametrize("column", LOSSES)
def test_a_schedule_over_n_under_t_steps(measurements, steps, models, column):
    schedule = MaskedSchedule.of(models)
    row, passes = predicted(measurements, schedule, steps)
    loss, expected = ancestral(lambda i, n: schedule.model_at(n), steps, LOSSES[column])
    assert row[column] == pytest.approx(loss, rel=1e-6)
    assert passes == pytest.approx({m: expected[m] for m in schedule.models})
    blocks = sum(BLOCKS[m] * count for m, count in expected.items())
    assert row["heavy_forwards"] == pytest.approx(blocks / 12)
    assert row["saved_flops"] == pytest.approx(1 - blocks / 12 / sum(expected.values()))
    assert row["light_fraction"] == pytest.approx(1 - expected["heavy"] / sum(expected.values()))


@pytest.mark.parametrize("models", [("heavy", "a"), ("b", "heavy", "a"), ("a", "a", "b", "heavy")])
@pytest.mark.parametrize("column", LOSSES)
def test_a_schedule_over_steps(measurements, models, column):
    schedule = Schedule.of(models)
    row, passes = predicted(measurements, schedule, schedule.steps)
    by_step = schedule.by_step()
    loss, expected = ancestral(lambda i, n: by_step[i - 1], schedule.steps, LOSSES[column])
    assert row[column] == pytest.approx(loss, rel=1e-6)
    assert passes == pytest.approx({m: expected[m] for m in schedule.models})


@pytest.mark.parametrize(
    "groups",
    [
        (("heavy", 3),),
        (("a", 1), ("heavy", 2)),
        (("heavy", 2), ("b", 1)),
        (("a", 1), ("b", 1), ("heavy", 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("column", LOSSES)
def test_a_plan(measurements, groups, column):
    row, passes = predicted(measurements, Plan(groups), None)
    assert row[column] == pytest.approx(in_groups(groups, LOSSES[column]), rel=1e-6)
    assert sum(passes.values()) == row["forwards"] == len(groups)


@pytest.mark.parametrize("models", list(itertools.permutations(MODELS)))
def test_events_of_one_token(measurements, models):
    """A schedule over n is then a plan of single tokens, and what T steps tend to."""
    row, passes = predicted(measurements, MaskedSchedule.of(models), None)
    groups = tuple((model, 1) for model in models)
    assert row["nelbo_nats"] == pytest.approx(in_groups(groups, nelbo), rel=1e-6)
    assert passes == dict.fromkeys(models, 1.0)
    many = predicted(measurements, MaskedSchedule.of(models), 20_000)[0]
    assert many["nelbo_nats"] == pytest.approx(row["nelbo_nats"], abs=1e-3)


@pytest.mark.parametrize("steps", [1, 3, 1500, None])
def test_all_tokens_are_revealed_and_every_step_is_as_likely(steps):
    tokens, forwards = event_weights(7, steps)
    assert tokens.sum() == pytest.approx(1)
    expected = 7 if steps is None else steps * (1 - (1 - 1 / steps) ** 7)
    assert forwards.sum() == pytest.approx(expected)
    by_step = over_steps(np.eye(7), steps)
    assert by_step.sum(0) == pytest.approx(np.ones(by_step.shape[1]))
    assert by_step.mean(1) == pytest.approx(tokens)


def test_one_token_at_a_time_is_what_many_steps_tend_to():
    curve = np.array([[3.0, 1.0, 4.0, 1.0, 5.0]])
    continuous, many = over_steps(curve, None), over_steps(curve, 100_000)
    means = many.reshape(1000, 100).mean(1)
    assert continuous[0] == pytest.approx(means, abs=1e-3)


def test_curves_over_t_are_refused(measurements):
    with pytest.raises(StepimpError, match="These curves are over t"):
        Predictor(replace(measurements, maskable=None), BLOCKS, "kl", None, 0)
