"""What the tests of comparisons share: two models, a setting, and a record of what is drawn."""

import pytest

from stepimp.models import loading
from stepimp.quality.candidates import Candidate
from stepimp.quality.paired_samples import Setting
from stepimp.sampling import sampler
from stepimp.schedules.schedule import parse

LENGTH = 12


@pytest.fixture(scope="module")
def members(tiny_family):
    return loading.load(["2b", "1b"], tiny_family, "cpu")


@pytest.fixture
def setting(members, tmp_path):
    """A function (**changes) -> a Setting of six samples in batches of two."""
    unchanged = dict(family=members, heavy="2b", steps=8, samples=6, length=LENGTH, seed=3)
    unchanged |= dict(out=str(tmp_path), batch_size=2)

    def make(**changes):
        return Setting(**{**unchanged, **changes})

    return make


@pytest.fixture
def candidates():
    """A function (*notations) -> candidates of the two models."""

    def make(*notations):
        return [Candidate("given", "1b", parse(text, "2b", "1b")) for text in notations]

    return make


@pytest.fixture
def drawn(monkeypatch):
    """(schedule, indices) of each call of the sampler that is more than a warm-up."""
    calls, sample = [], sampler.sample

    def watched(denoisers, schedule, indices, *arguments, **options):
        if schedule.steps > 1:
            calls.append((schedule.format("2b", "1b"), list(indices)))
        return sample(denoisers, schedule, indices, *arguments, **options)

    monkeypatch.setattr(sampler, "sample", watched)
    return calls
