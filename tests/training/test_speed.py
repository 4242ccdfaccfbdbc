import copy

import pytest
import torch

from stepimp.kernels.trunk import compiled_trunk
from stepimp.models.fused import fused
from stepimp.models.mdlm import MDLMConfig, MDLMForMaskedLM
from stepimp.training.objective import initialize, nelbo_loss
from stepimp.training.speed import in_turn

LENGTH, DIM, HEADS = 32, 64, 2


@pytest.fixture
def model():
    torch.manual_seed(1)
    shape = dict(model_length=LENGTH, hidden_dim=DIM, n_heads=HEADS, cond_dim=4, dropout=0.0)
    model = MDLMForMaskedLM(MDLMConfig(vocab_size=24, n_blocks=2, noise="linear", **shape))
    initialize(model)
    for p in model.backbone.blocks.parameters():
        p.data += 0.05 * torch.randn_like(p)
    return model.train()


def loss_and_gradients(model):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(23, (4, LENGTH), generator=generator)
    t, uniforms = torch.linspace(0.2, 1, 4), torch.rand(x.shape, generator=generator)
    loss = nelbo_loss(model, x, t, uniforms)
    return loss, torch.autograd.grad(loss, list(model.parameters()))


@pytest.mark.parametrize("way, tolerance", [(in_turn, 1e-6), (fused, 0.03)])
def test_a_faster_way_has_the_models_own_loss_and_gradients(model, way, tolerance):
    if way is fused and compiled_trunk(LENGTH, DIM, HEADS) is None:
        pytest.skip("needs a C++ compiler and a processor with AVX512-BF16")
    loss, gradients = loss_and_gradients(model)
    faster = copy.deepcopy(model)  # as the averaged weights are
    faster.run_blocks = way
    other_loss, others = loss_and_gradients(faster)
    assert other_loss.item() == pytest.approx(loss.item(), rel=tolerance)
    for ours, wanted in zip(others, gradients):
        assert (ours - wanted).norm() <= tolerance * wanted.norm() + 1e-6


def test_in_evaluation_a_model_takes_its_own_way(model):
    model.run_blocks = lambda *_: pytest.fail("not in evaluation")
    model.eval()(torch.zeros(1, LENGTH, dtype=torch.long))
