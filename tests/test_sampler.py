import numpy as np
import pytest
import torch
from scipy import stats

from fakes import FakeDenoiser, exact_distribution
from stepimp import sampler
from stepimp.errors import StepimpError
from stepimp.schedule import Schedule, parse


def counts_and_expected(denoisers, schedule, length, n, prefix=()):
    given = torch.tensor(prefix) if prefix else None
    drawn = sampler.sample(denoisers, schedule, range(n), length, seed=5, prefix=given, batch_size=64)
    exact = exact_distribution(denoisers, schedule, length, prefix)
    index = {tokens: k for k, tokens in enumerate(exact)}
    observed = np.bincount([index[tuple(row)] for row in drawn.tolist()], minlength=len(exact))
    return observed, n * np.array(list(exact.values()))


def chi_square(observed, expected):
    """p-value with cells of small expectation joined."""
    small = expected < 5
    if small.any():
        observed = np.append(observed[~small], observed[small].sum())
        expected = np.append(expected[~small], expected[small].sum())
    return stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue


CASES = {
    "one step": ("H1", ()),
    "two steps": ("H2", ()),
    "five steps": ("H5", ()),
    "more steps than positions": ("H9", ()),
    "two models": ("L2,H2,L1", ()),
    "a prefix": ("H4", (1,)),
    "two models and a prefix": ("H1,L3", (2,)),
}


@pytest.mark.parametrize("notation, prefix", CASES.values(), ids=CASES)
def test_tokens_follow_the_enumerated_distribution(notation, prefix):
    denoisers = {"heavy": FakeDenoiser(seed=1), "light": FakeDenoiser(seed=2)}
    schedule = parse(notation, "heavy", "light")
    assert chi_square(*counts_and_expected(denoisers, schedule, 3, 6000, prefix)) > 1e-3


def test_time_conditioned_denoisers_see_their_own_time():
    denoisers = {
        "heavy": FakeDenoiser(seed=1, time_conditioned=True, steps=5),
        "light": FakeDenoiser(seed=2, time_conditioned=True, steps=5),
    }
    schedule = parse("L2,H2,L1", "heavy", "light")
    assert chi_square(*counts_and_expected(denoisers, schedule, 3, 6000)) > 1e-3


def test_the_wrong_order_of_models_would_be_seen():
    denoisers = {"heavy": FakeDenoiser(seed=1), "light": FakeDenoiser(seed=2)}
    observed, _ = counts_and_expected(denoisers, parse("H1,L3", "heavy", "light"), 3, 6000)
    exact = exact_distribution(denoisers, parse("L3,H1", "heavy", "light"), 3)
    assert chi_square(observed, 6000 * np.array(list(exact.values()))) < 1e-6


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_tokens_do_not_depend_on_batch_size_or_order(batch_size):
    denoisers = {"heavy": FakeDenoiser(length=6, seed=1), "light": FakeDenoiser(length=6, seed=2)}
    schedule = parse("L3,H10,L3", "heavy", "light")
    together = sampler.sample(denoisers, schedule, range(40), 6, seed=3, batch_size=batch_size)
    turned = sampler.sample(denoisers, schedule, range(39, -1, -1), 6, seed=3, batch_size=7)
    assert torch.equal(together, turned.flip(0))


def test_advancing_in_parts_is_the_same_trajectory():
    denoisers = {"heavy": FakeDenoiser(length=6, seed=1), "light": FakeDenoiser(length=6, seed=2)}
    schedule = parse("L30,H50,L20", "heavy", "light")
    whole = sampler.sample(denoisers, schedule, range(10), 6, seed=3)
    state = sampler.begin(range(10), 6, 100, 3, seed=3)
    list(sampler.advance(state, denoisers, schedule, 60, seed=3))
    assert (state.z == 3).any() and (state.z != 3).any()
    branch = state.copy()
    list(sampler.advance(state, denoisers, schedule, 0, seed=3))
    assert torch.equal(state.z, whole)
    assert (branch.z == 3).any()


def test_forward_passes_agree_with_their_formula():
    length, steps, n = 6, 8, 600
    denoisers = {"heavy": FakeDenoiser(length=length, seed=1)}
    counts = sampler.Counts()
    sampler.sample(denoisers, Schedule.of(["heavy"] * steps), range(n), length, seed=0, counts=counts)
    # The all-masked first state is computed once, not once per sample.
    expected = 1 + n * (sampler.expected_forwards(length, steps) - 1)
    assert counts.forwards == pytest.approx(expected, rel=0.02)
    assert counts.tokens == n * length
    assert sum(denoisers["heavy"].batches) == counts.forwards


def test_batches_stay_full_to_the_end():
    denoisers = {"heavy": FakeDenoiser(length=6, seed=1)}
    counts = sampler.Counts()
    sampler.sample(denoisers, Schedule.of(["heavy"] * 50), range(64), 6, seed=0, counts=counts, batch_size=8)
    assert counts.forwards / counts.batches > 7.5


def test_schedules_share_their_randomness():
    heavy = FakeDenoiser(length=6, seed=1)
    a = sampler.sample({"h": heavy, "l": heavy}, parse("H20", "h", "l"), range(20), 6, seed=3)
    b = sampler.sample({"h": heavy, "l": heavy}, parse("L5,H10,L5", "h", "l"), range(20), 6, seed=3)
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    "length, prefix, message",
    [(9, None, "outside 1..3"), (0, None, "outside 1..3"), (3, torch.tensor([0, 1, 2]), "whole length of 3")],
)
def test_bad_lengths(length, prefix, message):
    with pytest.raises(StepimpError, match=message):
        sampler.sample({"h": FakeDenoiser()}, parse("H2", "h"), range(2), length, seed=0, prefix=prefix)


def test_a_model_nobody_loaded():
    with pytest.raises(StepimpError, match="'l'"):
        sampler.sample({"h": FakeDenoiser()}, parse("H2,l:2", "h"), range(2), 3, seed=0)
