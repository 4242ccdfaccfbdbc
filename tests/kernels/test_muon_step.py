import pytest
import torch

from stepimp.kernels import muon as kernel
from stepimp.kernels import native, reference
from stepimp.training.muon import BatchedMuon, orthogonalize

MOMENTUM, LR, DECAY = 0.9, 0.1, 0.02
needs_compiler = pytest.mark.skipif(
    native.compile_source("muon.cpp") is None,
    reason="needs a C++ compiler and a processor with AVX512-BF16",
)


@pytest.fixture(autouse=True)
def few_threads(monkeypatch):
    monkeypatch.setattr(kernel, "FEW_THREADS", torch.get_num_threads())


def draws(rows, columns, n=3):
    """Weights, gradients and averages, [3, n, rows, columns]."""
    return torch.randn(3, n, rows, columns, generator=torch.Generator().manual_seed(rows))


@needs_compiler
@pytest.mark.parametrize("shape", [(32, 32), (96, 32), (64, 64), (32, 128), (128, 64), (64, 256)])
def test_a_step_is_as_near_the_formula_as_torchs_own_in_bf16(shape):
    weights, gradients, averages = draws(*shape)
    average = averages + (1 - MOMENTUM) * (gradients - averages)
    momenta = gradients + MOMENTUM * (average - gradients)
    wanted = (1 - DECAY) * weights.double() - LR * reference.orthogonalize(momenta.double())
    plain = (1 - DECAY) * weights - LR * orthogonalize(momenta)
    stepped, followed = (list(part.clone().unbind()) for part in (weights, averages))
    assert kernel.steps_natively([*stepped, *gradients.unbind(), *followed])
    kernel.muon_step(stepped, list(gradients.unbind()), followed, MOMENTUM, LR, DECAY)
    torch.testing.assert_close(torch.stack(followed), average)
    error = (torch.stack(stepped) - wanted).norm()
    assert error < 1.2 * (plain - wanted).norm()


@needs_compiler
def test_a_gradient_of_zeros_leaves_the_matrix():
    weight, zeros = torch.randn(64, 32), torch.zeros(64, 32)
    stepped = weight.clone()
    kernel.muon_step([stepped], [zeros], [zeros.clone()], MOMENTUM, LR, 0.0)
    assert torch.equal(stepped, weight)


@needs_compiler
def test_the_optimizer_takes_the_same_steps_natively():
    shapes = [(96, 32), (32, 32), (32, 128)] * 2
    generator = torch.Generator().manual_seed(0)
    ours, theirs = ([torch.nn.Parameter(torch.ones(shape)) for shape in shapes] for _ in range(2))
    first, second = (BatchedMuon(ps, lr=0.02, weight_decay=0.1) for ps in (ours, theirs))
    second.native = False
    for _ in range(3):
        for p, q in zip(ours, theirs):
            p.grad = q.grad = torch.randn(p.shape, generator=generator)
        first.step(), second.step()
    for p, q in zip(ours, theirs):
        assert 0 < (p - q).norm() < 0.03 * (q - 1).norm()
        assert torch.allclose(
            first.state[p]["momentum_buffer"], second.state[q]["momentum_buffer"], atol=1e-6
        )


@pytest.mark.parametrize(
    "matrix",
    [torch.ones(48, 32), torch.ones(32, 32, dtype=torch.float64), torch.ones(32, 64).mT],
    ids=["side", "dtype", "strides"],
)
def test_other_matrices_take_torchs_operators(matrix):
    assert not kernel.steps_natively([matrix])


def test_with_more_threads_torchs_operators_are_taken(monkeypatch):
    monkeypatch.setattr(kernel, "FEW_THREADS", 0)
    assert not kernel.steps_natively([torch.ones(32, 32)])
