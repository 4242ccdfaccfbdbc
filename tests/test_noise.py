import numpy as np
import pytest
import torch

from stepimp import randomness
from stepimp.errors import StepimpError
from stepimp.noise import NoiseSchedule, corrupt

MASK = 9
TIMES = np.linspace(0.05, 1, 20)
KINDS = {
    "float": lambda t: float(t[3]),
    "numpy": lambda t: t,
    "tensor": lambda t: torch.tensor(t, dtype=torch.float64),
}


@pytest.fixture(params=["linear", "loglinear"])
def noise(request):
    return NoiseSchedule(request.param)


@pytest.fixture(params=KINDS)
def t(request):
    return KINDS[request.param](TIMES)


def test_alpha_falls_from_one_to_eps(noise):
    assert noise.alpha(0.0) == 1
    assert noise.alpha(1.0) == pytest.approx(
        {"linear": 0.0, "loglinear": 1e-3}[noise.name], abs=1e-12
    )
    assert (np.diff(noise.alpha(TIMES)) < 0).all()


def test_the_derivative_is_that_of_alpha(noise, t):
    step = 1e-6
    slope = (noise.alpha(t + step) - noise.alpha(t - step)) / (2 * step)
    assert np.allclose(noise.alpha_derivative(t), slope, atol=1e-8)


def test_the_weight_is_one_over_t(noise, t):
    expected = -noise.alpha_derivative(t) / (1 - noise.alpha(t))
    assert np.allclose(noise.nelbo_weight(t), expected)
    assert np.allclose(noise.nelbo_weight(t) * t, 1)


def test_masked_is_the_complement_of_alpha(noise, t):
    assert np.allclose(noise.masked(t) + noise.alpha(t), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_results_keep_the_kind_of_their_argument(noise, kind):
    t = KINDS[kind](TIMES)
    for function in (
        noise.alpha,
        noise.alpha_derivative,
        noise.masked,
        noise.nelbo_weight,
    ):
        assert type(function(t)) is type(t)
        assert np.shape(function(t)) == np.shape(t)


def test_an_unknown_noise_schedule_lists_the_known_ones():
    with pytest.raises(StepimpError, match="'cosine'.*linear, loglinear"):
        NoiseSchedule("cosine")


@pytest.fixture
def text_and_uniforms():
    text = torch.from_numpy(np.random.default_rng(0).integers(0, MASK, (64, 500)))
    return text, torch.from_numpy(randomness.uniforms(0, randomness.CORRUPTION, range(64), 500))


def test_corruption_masks_the_right_share_and_changes_nothing_else(noise, text_and_uniforms):
    x, u = text_and_uniforms
    for t in (0.1, 0.5, 0.9):
        z = corrupt(x, u, t, MASK, noise)
        share, expected = (z == MASK).double().mean().item(), 1 - noise.alpha(t)
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / x.numel())
        assert torch.equal(z[z != MASK], x[z != MASK])


def test_corruption_at_the_ends(text_and_uniforms):
    x, u = text_and_uniforms
    assert torch.equal(corrupt(x, u, 0.0, MASK, NoiseSchedule()), x)
    assert (corrupt(x, u, 1.0, MASK, NoiseSchedule()) == MASK).all()


def test_the_masked_set_only_grows_with_t(noise, text_and_uniforms):
    x, u = text_and_uniforms
    masked = [corrupt(x, u, t, MASK, noise) == MASK for t in np.linspace(0, 1, 11)]
    assert all(
        (early <= late).all() and early.sum() < late.sum()
        for early, late in zip(masked, masked[1:])
    )


def test_a_time_per_sequence_equals_one_sequence_at_a_time(noise, text_and_uniforms):
    x, u = text_and_uniforms
    times = torch.linspace(0.1, 1, len(x), dtype=torch.float64)
    together = corrupt(x, u, times[:, None], MASK, noise)
    assert all(
        torch.equal(together[i], corrupt(x[i], u[i], float(t), MASK, noise))
        for i, t in enumerate(times)
    )


def test_equal_uniforms_mask_the_same_positions_of_any_text(noise, text_and_uniforms):
    x, u = text_and_uniforms
    assert torch.equal(
        corrupt(x, u, 0.4, MASK, noise) == MASK, corrupt(x.flip(0), u, 0.4, MASK, noise) == MASK
    )


def test_uniforms_depend_on_their_own_index_alone():
    both = randomness.uniforms(3, randomness.DATA, [5, 7], 20)
    assert np.array_equal(both[1:], randomness.uniforms(3, randomness.DATA, [7], 20))
    assert np.array_equal(both[:, :10], randomness.uniforms(3, randomness.DATA, [5, 7], 10))
    assert randomness.uniforms(3, randomness.DATA, [], 20).shape == (0, 20)


def test_seeds_streams_indices_and_positions_are_independent():
    draws = [
        randomness.generator(*where).random(1000)
        for where in [(0, 0), (1, 0), (0, 1), (0, 0, 1), (0, 0, 0, 1)]
    ]
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlation).max() < 0.15


def test_the_largest_seeds_are_told_apart():
    drawn = [randomness.generator(2**64 - k, randomness.TOKEN).random() for k in (1, 2, 3, 2**63)]
    assert len(set(drawn)) == len(drawn)


def test_random_numbers_never_change_between_versions():
    drawn = [randomness.generator(3, 2, *where).random() for where in [(), (5,), (5, 7)]]
    assert drawn == [0.7689627995133282, 0.9992611509234182, 0.6695762575701403]


X, U = torch.zeros(2, 3, dtype=torch.long), torch.rand(2, 3)
WRONG = {
    "x is a tensor of int64 token ids, not list": dict(x=X.tolist()),
    "x is a tensor of int64 token ids, not ndarray": dict(x=X.numpy()),
    "x is a tensor of int64 token ids, not float32": dict(x=X.float()),
    "uniforms are a floating-point tensor, not int64": dict(uniforms=X),
    r"x \[2, 3\] on cpu and uniforms \[3\] on cpu: give one": dict(uniforms=U[0]),
    r"uniforms \[2, 3\] on meta": dict(uniforms=U.to("meta")),
    r"t has the shape \[2\], not \[2, 1\]": dict(t=torch.rand(2)),
    "t is a number or a tensor, not list": dict(t=[0.5, 0.5]),
    "t is from 0 to 1, not 1.5": dict(t=1.5),
    "t is from 0 to 1, not nan": dict(t=float("nan")),
    r"t is from 0 to 1, not tensor\(": dict(t=torch.tensor([[0.5], [-0.1]])),
    "mask_id is the id of the mask token, not None": dict(mask_id=None),
    "noise is 'linear': give a NoiseSchedule": dict(noise="linear"),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_corrupted(message):
    usual = dict(x=X, uniforms=U, t=torch.rand(2, 1), mask_id=5, noise=NoiseSchedule())
    assert corrupt(**usual).shape == X.shape
    with pytest.raises(ValueError, match=message):
        corrupt(**usual | WRONG[message])


def test_a_noise_schedule_of_ones_own_needs_no_base_class():
    class Cosine:
        def masked(self, t):
            return 1 - np.cos(np.pi / 2 * t)

    assert torch.equal(corrupt(X, U, 0.5, 5, Cosine()) == 5, 1 - np.sqrt(0.5) > U)
