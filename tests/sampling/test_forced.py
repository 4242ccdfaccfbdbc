"""The NELBO of a policy measured on text, against enumeration and against its prediction."""

import itertools
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from chains import BLOCKS, LENGTH, MODELS, TEXTS, ancestral, exact_measurements, in_groups, nelbo

from stepimp.errors import StepimpError
from stepimp.sampling.cascade import Cascade
from stepimp.sampling.drafting import Draft
from stepimp.sampling.forced import forced_losses
from stepimp.sampling.kernel import Kernel
from stepimp.sampling.policies import Policy
from stepimp.sampling.state import Counts
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.predicted import Predictor
from stepimp.schedules.schedule import Schedule

REPEATS = 150
OVER_N = MaskedSchedule.of(["a", "heavy", "b"])
STEPS = Schedule.of(["a", "heavy", "heavy", "b"])
GROUPS = (("a", 2), ("heavy", 1))
EXPECTED = {
    "over n": (Policy(OVER_N, 4), lambda: ancestral(lambda i, n: OVER_N.model_at(n), 4, nelbo)[0]),
    "over n, one token at a time": (
        Policy(OVER_N, first_hitting=True),
        lambda: in_groups((("a", 1), ("heavy", 1), ("b", 1)), nelbo),
    ),
    "steps": (Policy(STEPS), lambda: ancestral(lambda i, n: STEPS.by_step()[i - 1], 4, nelbo)[0]),
    "plan": (Policy(Plan(GROUPS)), lambda: in_groups(GROUPS, nelbo)),
    "draft": (
        Policy(Draft("heavy", "a", 2), 4),
        lambda: ancestral(lambda i, n: "heavy", 4, nelbo)[0],
    ),
}


@pytest.mark.parametrize("policy, expected", EXPECTED.values(), ids=EXPECTED)
def test_the_mean_is_the_nelbo_of_the_definition(policy, expected):
    text = torch.tensor(TEXTS * REPEATS)
    losses = forced_losses(MODELS, policy, text, seed=3) / LENGTH
    error = losses.std() / len(text) ** 0.5
    assert losses.mean() == pytest.approx(expected(), abs=4 * error) and error < 0.03


@pytest.mark.parametrize("kind", get_args(get_type_hints(Policy)["schedule"]))
def test_each_rule_for_which_model_runs_has_a_measured_nelbo(kind):
    rules = [policy.schedule for policy, _ in EXPECTED.values()] + [Cascade("heavy", "a", 0.0)]
    made = [rule for rule in rules if isinstance(rule, kind)]
    assert made, f"Add a {kind.__name__} to EXPECTED above, with its NELBO by enumeration."
    policy = Policy(made[0], None if hasattr(made[0], "steps") else 4)
    text = torch.tensor(TEXTS)
    # AssertionError of assert_never: `forced_losses` has no case for it.
    assert (forced_losses(MODELS, policy, text, seed=1) > 0).all()


def test_prediction_and_measurement_agree():
    row = Predictor(exact_measurements(), BLOCKS, "nelbo", 4, 0).row("", OVER_N, None)
    losses = forced_losses(MODELS, Policy(OVER_N, 4), torch.tensor(TEXTS * REPEATS), seed=5)
    error = losses.std() / len(losses) ** 0.5 / LENGTH
    assert losses.mean() / LENGTH == pytest.approx(row["nelbo_nats"], abs=4 * error)


@pytest.mark.parametrize("threshold, other", [(0.0, "heavy"), (99.0, "a")])
def test_a_cascade_that_always_or_never_escalates_is_one_model(threshold, other):
    text, counts = torch.tensor(TEXTS), Counts()
    cascade = Policy(Cascade("heavy", "a", threshold), 4)
    losses = forced_losses(MODELS, cascade, text, seed=1, counts=counts)
    alone = forced_losses(MODELS, Policy(Schedule.of([other] * 4)), text, seed=1)
    np.testing.assert_allclose(losses, alone)
    assert (counts.forwards["heavy"] > 0) == (other == "heavy") and counts.forwards["a"] > 0


def test_batches_and_parts_do_not_matter():
    text, policy = torch.tensor(TEXTS), Policy(OVER_N, 4)
    whole = forced_losses(MODELS, policy, text, seed=1, batch_size=3)
    parts = [forced_losses(MODELS, policy, text[k : k + 2], seed=1, first=k) for k in (0, 2, 4, 6)]
    np.testing.assert_allclose(whole, list(itertools.chain(*parts)))


def test_another_law_has_no_nelbo():
    with pytest.raises(StepimpError, match="has no NELBO"):
        forced_losses(MODELS, Policy(OVER_N, 4, kernel=Kernel(0.5)), torch.tensor(TEXTS), seed=0)
