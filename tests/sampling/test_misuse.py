"""Arguments that nothing can be sampled with are refused, instead of tokens left masked."""

import pytest
import torch

from stepimp.errors import StepimpError
from stepimp.sampling import policies, sampler
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
