import numpy as np
import pytest
import torch
from scipy import stats

from stepimp import randomness
from stepimp.kernels import reference
from stepimp.kernels.draw import draw_tokens, exponentials
from stepimp.kernels.linear import linear


def test_draws_equal_the_reference_on_the_same_noise():
    logits = torch.randn(40, 301, generator=torch.Generator().manual_seed(0))
    logits[:, 7] = -torch.inf
    noise = torch.stack([torch.from_numpy(exponentials(5, 3, row, 301)) for row in range(40)])
    assert torch.equal(
        draw_tokens(logits, 5, [3] * 40, range(40)), reference.gumbel_argmax(logits, noise)
    )


def test_draws_follow_softmax():
    logits = torch.tensor([0.0, 1.0, -2.0, -torch.inf, 0.5])
    n = 20_000
    drawn = draw_tokens(logits.expand(n, -1), 1, range(n), [0] * n)
    observed = np.bincount(drawn, minlength=5)
    assert observed[3] == 0
    possible = [0, 1, 2, 4]
    expected = n * logits.double().softmax(-1).numpy()[possible]
    assert stats.chisquare(observed[possible], expected).pvalue > 1e-3


def test_noise_is_exponential():
    assert stats.kstest(exponentials(0, 1, 2, 200_000), "expon").pvalue > 1e-3


@pytest.mark.parametrize("u, least, most", [(0.0, 36, 40), (1 - 2.0**-53, -4, -3)])
def test_noise_reaches_far_into_both_tails_and_stays_finite(monkeypatch, u, least, most):
    """Gumbel noise of 36 lets a token of probability 1e-15 win; noise in 32 bits ends at 16.6."""

    class Extreme:
        def random(self, n):
            return np.full(n, u)

    monkeypatch.setattr(randomness, "generator", lambda *_: Extreme())
    gumbel = -np.log(exponentials(0, 0, 0, 1))[0]
    assert least < gumbel < most


def test_noise_depends_on_seed_sample_and_position():
    noise = exponentials(0, 1, 2, 50)
    assert np.array_equal(noise, exponentials(0, 1, 2, 50))
    for other in ((1, 1, 2), (0, 2, 2), (0, 1, 3), (0, 2, 1)):
        assert not np.array_equal(noise, exponentials(*other, 50))


@pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float64, 1e-12)]
)
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 33, 50), (3, 5, 17)])
def test_linear_equals_the_plain_product(shape, gelu, dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    rows, inner, outer = shape
    x, weight, bias = (
        torch.randn(*s, generator=generator).to(dtype)
        for s in ((2, rows, inner), (outer, inner), (outer,))
    )
    exact = x.double() @ weight.double().T + bias.double()
    if gelu:
        exact = torch.nn.functional.gelu(exact, approximate="tanh")
    with torch.no_grad():
        assert (
            linear(x, weight, bias, gelu) - exact
        ).abs().max() <= tolerance * exact.abs().max().clamp_min(1)
