"""The blocks of a frozen bf16 model as one C++ function, against the model in float64."""

import copy

import pytest
import torch

from stepimp.kernels.trunk import compiled_trunk
from stepimp.models import fused

SHAPE = dict(model_length=64, hidden_dim=64, n_heads=2)
needs_library = pytest.mark.skipif(
    compiled_trunk(64, 64, 2) is None,
    reason="needs a C++ compiler and a processor with AVX512-BF16",
)


@pytest.fixture
def model(random_model, monkeypatch):
    """A bf16 model whose activations are of the size of a trained one's."""
    monkeypatch.setattr(fused, "FEW_THREADS", torch.get_num_threads())
    model = random_model(4, n_blocks=3, **SHAPE)
    with torch.no_grad():
        for block in model.backbone.blocks:
            for linear in (block.attn_qkv, block.attn_out, block.mlp[0], block.mlp[2]):
                linear.weight *= 0.3
    return model.to(torch.bfloat16)


def tokens(length=64, batch=3):
    return torch.randint(24, (batch, length), generator=torch.Generator().manual_seed(1))


@needs_library
@pytest.mark.parametrize("length", [64, 32])
def test_it_is_as_near_float64_as_torchs_own_in_bf16(model, length):
    z = tokens(length)
    exact = copy.deepcopy(model).double().freeze().hidden(z)
    with torch.no_grad():
        own = copy.deepcopy(model).hidden(z)
    ours = model.freeze().hidden(z)
    assert model.trunk is not None
    assert (ours - exact).norm() < 1.2 * (own - exact).norm()


@needs_library
def test_rows_are_the_same_in_every_batch_and_when_some_are_asked_about(model):
    z, at = tokens(), torch.tensor([[0, 3, 63]] * 3)
    hidden = model.freeze().hidden(z)
    x = model.backbone.vocab_embed.embedding[z]
    for k in range(3):
        assert torch.equal(model.trunk(x[k : k + 1])[0], model.trunk(x)[k])
    torch.testing.assert_close(model.hidden(z, at=at), hidden[:, [0, 3, 63]], rtol=1e-5, atol=1e-5)


@needs_library
def test_a_copy_has_the_same_values(model):
    z = tokens()
    before = model.freeze().hidden(z)
    assert torch.equal(copy.deepcopy(model).hidden(z), before)


@needs_library
def test_a_length_without_a_library_takes_the_models_own_way(model):
    z = tokens(40)
    with torch.no_grad():
        own = copy.deepcopy(model).hidden(z)
    assert torch.equal(model.freeze().hidden(z), own)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_dtypes_take_the_models_own_way(random_model, dtype):
    assert random_model(**SHAPE).to(dtype).freeze().trunk is None


def test_where_torch_is_faster_or_the_time_counts_a_model_takes_its_own_way(model, random_model):
    timed = random_model(time_conditioning=True, **SHAPE).to(torch.bfloat16)
    assert timed.freeze().trunk is None
    wide = random_model(model_length=32, hidden_dim=288, n_heads=9).to(torch.bfloat16)
    assert wide.freeze().trunk is None
    fused.FEW_THREADS = 0
    assert model.freeze().trunk is None
