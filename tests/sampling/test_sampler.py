import numpy as np
import pytest
import torch
from fakes import FakeDenoiser, chi_square, exact_distribution, observed_and_expected
from torch.utils._python_dispatch import TorchDispatchMode

from stepimp.errors import StepimpError
from stepimp.kernels import draw
from stepimp.sampling import mdlm_sampler, sampler
from stepimp.schedules.passes import expected_forwards
from stepimp.schedules.schedule import Schedule, parse

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
    assert chi_square(*observed_and_expected(denoisers, schedule, 3, 3000, prefix)) > 1e-3


def test_time_conditioned_denoisers_see_their_own_time():
    denoisers = {
        "heavy": FakeDenoiser(seed=1, time_conditioned=True, steps=5),
        "light": FakeDenoiser(seed=2, time_conditioned=True, steps=5),
    }
    schedule = parse("L2,H2,L1", "heavy", "light")
    assert chi_square(*observed_and_expected(denoisers, schedule, 3, 3000)) > 1e-3


def test_the_wrong_order_of_models_would_be_seen():
    denoisers = {"heavy": FakeDenoiser(seed=1), "light": FakeDenoiser(seed=2)}
    observed, _ = observed_and_expected(denoisers, parse("H1,L3", "heavy", "light"), 3, 3000)
    exact = exact_distribution(denoisers, parse("L3,H1", "heavy", "light"), 3)
    assert chi_square(observed, 3000 * np.array(list(exact.values()))) < 1e-6


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
    sampler.sample(
        denoisers, Schedule.of(["heavy"] * steps), range(n), length, seed=0, counts=counts
    )
    # The all-masked first state is computed once, not once per sample.
    expected = 1 + n * (expected_forwards(length, steps) - 1)
    assert counts.forwards.total() == pytest.approx(expected, rel=0.02)
    assert counts.tokens.total() == n * length
    assert sum(denoisers["heavy"].batches) == counts.forwards.total()


def test_batches_stay_full_to_the_end():
    denoisers = {"heavy": FakeDenoiser(length=6, seed=1)}
    counts = sampler.Counts()
    sampler.sample(
        denoisers, Schedule.of(["heavy"] * 50), range(64), 6, seed=0, counts=counts, batch_size=8
    )
    assert counts.forwards.total() / counts.batches > 7.5


def test_schedules_share_their_randomness():
    heavy = FakeDenoiser(length=6, seed=1)
    a = sampler.sample({"h": heavy, "l": heavy}, parse("H20", "h", "l"), range(20), 6, seed=3)
    b = sampler.sample({"h": heavy, "l": heavy}, parse("L5,H10,L5", "h", "l"), range(20), 6, seed=3)
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    "length, prefix, message",
    [
        (9, None, "outside 1..3"),
        (0, None, "outside 1..3"),
        (3, torch.tensor([0, 1, 2]), "whole length of 3"),
    ],
)
def test_bad_lengths(length, prefix, message):
    with pytest.raises(StepimpError, match=message):
        sampler.sample(
            {"h": FakeDenoiser()}, parse("H2", "h"), range(2), length, seed=0, prefix=prefix
        )


def test_a_model_nobody_loaded():
    with pytest.raises(StepimpError, match="'l'"):
        sampler.sample({"h": FakeDenoiser()}, parse("H2,l:2", "h"), range(2), 3, seed=0)


@pytest.fixture(scope="module")
def models(random_model):
    """Two MDLMs in float64, where sums in another order change nothing that a draw could see."""
    return {
        name: random_model(seed, n_blocks=blocks).double().freeze()
        for name, blocks, seed in (("h", 2, 1), ("l", 1, 2))
    }


@pytest.mark.parametrize("time_conditioning", [False, True])
def test_an_mdlm_gives_the_same_tokens_in_any_batch(random_model, time_conditioning):
    models = {
        name: random_model(seed, n_blocks=blocks, time_conditioning=time_conditioning)
        .double()
        .freeze()
        for name, blocks, seed in (("h", 2, 1), ("l", 1, 2))
    }
    schedule = parse("L10,H30,L10", "h", "l")
    drawn = [
        sampler.sample(models, schedule, range(20), 12, seed=3, batch_size=size)
        for size in (1, 3, 16)
    ]
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("notation", ["L100,H300", "H300,L100", "L50,H300,L50"])
@pytest.mark.parametrize("samples", [8, 40])
def test_samples_that_wait_for_two_models_still_fill_their_batches(models, notation, samples):
    counts = sampler.Counts()
    schedule, length = parse(notation, "h", "l"), models["h"].max_length
    sampler.sample(models, schedule, range(samples), length, seed=3, batch_size=8, counts=counts)
    assert counts.forwards.total() / counts.batches > 5.5


def test_processes_may_share_the_work_in_any_way(models):
    schedule = parse("L10,H30,L10", "h", "l")
    whole = sampler.sample(models, schedule, range(12), 12, seed=3)
    ranks = [sampler.sample(models, schedule, range(rank, 12, 3), 12, seed=3) for rank in range(3)]
    assert torch.equal(whole, torch.stack(ranks, 1).flatten(0, 1))


def test_a_prefix_stays_and_may_differ_between_samples(models):
    schedule = parse("L10,H10", "h", "l")
    prefixes = torch.arange(8).view(4, 2)
    together = sampler.sample(models, schedule, range(4), 12, seed=3, prefix=prefixes)
    assert torch.equal(together[:, :2], prefixes)
    alone = sampler.sample(models, schedule, [2], 12, seed=3, prefix=prefixes[2])
    assert torch.equal(together[2:3], alone)


class LargestTensor(TorchDispatchMode):
    """Notes the number of elements of the largest tensor any operator returns."""

    elements = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        out = function(*arguments, **(options or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


@pytest.mark.parametrize("notation", ["H1", "H20"])
def test_no_tensor_holds_all_logits(random_model, notation):
    model = random_model(vocab_size=3000)
    weights = max(p.numel() for p in model.parameters())
    batch, length = 8, 24
    with torch.no_grad(), LargestTensor() as largest:
        sampler.sample(
            {"h": model.freeze()},
            parse(notation, "h"),
            range(batch),
            length,
            seed=0,
            batch_size=batch,
        )
    assert largest.elements <= max(weights, draw.ROW_BLOCK * 3000) < batch * length * 3000


@pytest.mark.parametrize("models_agree", [True, False])
def test_the_published_sampler_follows_the_same_distribution(models_agree):
    denoisers = {
        "heavy": FakeDenoiser(seed=1),
        "light": FakeDenoiser(seed=1 if models_agree else 2),
    }
    schedule = parse("L2,H3", "heavy", "light")

    def draw(*arguments, **options):
        return mdlm_sampler.sample(*arguments, rounding=None, **options)

    assert chi_square(*observed_and_expected(denoisers, schedule, 3, 3000, draw=draw)) > 1e-3


def test_the_published_sampler_does_not_depend_on_the_batch_size_either(models):
    schedule = parse("L10,H10", "h", "l")
    drawn = [
        mdlm_sampler.sample(models, schedule, range(6), 12, seed=3, batch_size=size)
        for size in (1, 4)
    ]
    assert torch.equal(*drawn)
