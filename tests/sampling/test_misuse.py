"""Arguments that nothing can be sampled with are refused, instead of tokens left masked."""

import pytest
import torch

from stepimp.errors import StepimpError
from stepimp.sampling import policies, sampler
from stepimp.sampling.cascade import Cascade
from stepimp.sampling.drafting import Draft
from stepimp.sampling.kernel import Kernel
from stepimp.sampling.order_rules import ORDERS, Ranking
from stepimp.sampling.orders import Order
from stepimp.sampling.policies import Policy
from stepimp.schedules.schedule import Schedule, parse

SCHEDULE = parse("L3,H3", "2b", "1b")


@pytest.fixture(scope="module")
def denoisers(tiny_family):
    from stepimp.models.loading import load

    return load(["1b", "2b"], tiny_family, "cpu").denoisers


WRONG = {
    "Batches of 0 sequences": dict(batch_size=0),
    "Batches of -1 sequences": dict(batch_size=-1),
    "-1 is not a seed": dict(seed=-1),
    "3 are not sample indices": dict(indices=3),
    r"\[0.5\] are not sample indices": dict(indices=[0.5]),
    r"\[-1\] are not sample indices": dict(indices=[-1]),
    r"\[\[0, 1\]\] are not sample indices": dict(indices=[[0, 1]]),
    "Length 8.0 is not a whole number": dict(length=8.0),
    "'L3,H3' is not a schedule": dict(schedule="L3,H3"),
    "is not a schedule of any model": dict(schedule=Schedule(())),
    "T = 0: sampling needs": dict(schedule=Schedule((("1b", 0),))),
    "There are prefixes of 2 samples, and 3 indices": dict(
        indices=range(3), prefix=torch.ones(2, 2, dtype=torch.long)
    ),
    "The denoisers are a dict from name to denoiser, not list": dict(denoisers=[]),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_sampled(denoisers, message):
    usual = dict(denoisers=denoisers, schedule=SCHEDULE, indices=[0], length=8, seed=0)
    assert sampler.sample(**usual).shape == (1, 8)
    with pytest.raises(StepimpError, match=message):
        sampler.sample(**usual | WRONG[message])


def test_a_schedule_is_not_a_policy(denoisers):
    with pytest.raises(StepimpError, match=r"is not a Policy: give Policy\(schedule\)"):
        policies.sample(denoisers, SCHEDULE, [0], 8, seed=0)


MEANT = dict(schedule=SCHEDULE, order=Order("threshold"))
NOT_POLICIES = {
    r"'L3,H3' is a notation: give the Schedule that .*parse makes": lambda: Policy("L3,H3"),
    "schedule is None, not a Schedule or a MaskedSchedule or a Plan or": lambda: Policy(None),
    "schedule is .*, not a Schedule": lambda: Policy([("1b", 3)]),
    "steps is 0, not a whole number of at least 1": lambda: Policy(SCHEDULE, 0),
    "steps is '5', not a whole": lambda: Policy(SCHEDULE, "5"),
    "first_hitting is 'yes', not true": lambda: Policy(SCHEDULE, first_hitting="yes"),
    "kernel is 0.5, not a Kernel": lambda: Policy(SCHEDULE, kernel=0.5),
    "order is 'confidence', not an Order": lambda: Policy(SCHEDULE, order="confidence"),
    "temperature is '1', not a finite number": lambda: Kernel("1"),
    "The level '0.9' of the order threshold is not a number": lambda: Order("threshold", "0.9"),
    "The threshold '1' of a cascade is not a number": lambda: Cascade("2b", "1b", "1"),
    "events is 2.5, not a whole number": lambda: Draft("2b", "1b", 2.5),
    "'L3' are not the segments of a schedule": lambda: Schedule("L3"),
    r"\('1b', 3\) are not the segments": lambda: Schedule(("1b", 3)),
}


@pytest.mark.parametrize("message", NOT_POLICIES)
def test_parts_of_a_policy_are_checked_when_it_is_made(message):
    assert Policy(**MEANT).order.level == 0.9
    with pytest.raises(StepimpError, match=message):
        NOT_POLICIES[message]()


def test_a_rule_that_does_not_score_each_position_is_named(denoisers, monkeypatch):
    monkeypatch.setitem(ORDERS, "mean", Ranking(lambda log_p: log_p.exp().mean()))
    policy = Policy(SCHEDULE, order=Order("mean"))
    with pytest.raises(StepimpError, match=r"order mean gives scores of shape \[\], not one for"):
        policies.sample(denoisers, policy, [0], 8, seed=0)
