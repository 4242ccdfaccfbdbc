import pytest
import torch

from stepimp.kernels import native, reference
from stepimp.kernels.trunk import compiled_trunk, trunk

SHAPES = [(32, 32, 1), (64, 64, 2), (32, 64, 1), (64, 128, 2)]


def arguments(length, dim, heads, blocks=2, batch=3):
    """Inputs with gradients: x, the matrices of qkv, out, up and down, both biases, the modulation.
    Then the constants of `trunk`.
    """
    generator = torch.Generator().manual_seed(length + dim)

    def draw(*shape, scale=1.0):
        return torch.randn(shape, generator=generator) * scale

    matrices = [
        draw(blocks, rows * dim, columns * dim, scale=(columns * dim) ** -0.5)
        for rows, columns in ((3, 1), (1, 1), (4, 1), (1, 4))
    ]
    biases = [draw(blocks, rows * dim) for rows in (4, 1)]
    modulation = [base + draw(blocks, dim, scale=0.3) for base in (0, 1, 1) * 2]
    angles = torch.rand(length, dim // heads // 2, generator=generator) * 6
    inputs = [draw(batch, length, dim), *matrices, *biases, *modulation]
    return inputs, (angles.cos(), angles.sin(), heads)


def results(function, inputs, constants, dtype):
    inputs = [part.detach().to(dtype).requires_grad_() for part in inputs]
    x, *matrices = inputs[:5]
    y = function(x, [kind.unbind() for kind in matrices], *inputs[5:7], inputs[7:], *constants)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape).sin()
    return y, *torch.autograd.grad((y * weights).sum(), inputs)


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_as_near_the_reference_as_torchs_own_in_bf16(shape):
    if compiled_trunk(*shape) is None:
        pytest.skip("needs a C++ compiler and a processor with AVX512-BF16")
    inputs, constants = arguments(*shape)
    exact = results(reference.trunk, inputs, constants, torch.float64)
    ours = results(trunk, inputs, constants, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        plain = results(reference.trunk, inputs, constants, torch.float32)
    for y, same_dtype, wanted in zip(ours, plain, exact):
        assert (y - wanted).norm() < 1.2 * (same_dtype - wanted).norm() + 1e-3 * wanted.norm()


@pytest.mark.parametrize("shape", SHAPES)
def test_gelu_at_activations_whose_exponential_overflows(shape):
    if compiled_trunk(*shape) is None:
        pytest.skip("needs a C++ compiler and a processor with AVX512-BF16")
    inputs, constants = arguments(*shape)
    with torch.no_grad():
        inputs[5] *= 40  # the biases in front of GELU
    exact = results(reference.trunk, inputs, constants, torch.float64)
    for y, wanted in zip(results(trunk, inputs, constants, torch.float32), exact):
        assert (y - wanted).norm() < 0.1 * wanted.norm()


@pytest.mark.parametrize("shape", [(30, 64, 2), (64, 48, 1), (64, 64, 4)])
def test_a_shape_that_does_not_fit_has_no_library(shape):
    assert compiled_trunk(*shape) is None


def test_without_a_compiler_there_is_no_library(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    uncached = native.compile_source.__wrapped__
    assert uncached("trunk.cpp", LENGTH=32, DIM=32, HEADS=1) is None
    assert uncached("muon.cpp") is None
