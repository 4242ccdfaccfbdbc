import math

import pytest
import torch

from stepimp.training.objective import (
    MIN_T,
    evaluate_nelbo,
    initialize,
    low_discrepancy_times,
    nelbo_loss,
)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_one_time_falls_into_each_of_n_equal_intervals(n):
    t = low_discrepancy_times(n, "cpu")
    assert ((t > MIN_T) & (t <= 1)).all()
    interval = ((1 - t.double()) / (1 - MIN_T) * n).floor()
    assert sorted(interval.tolist()) == list(range(n))
    assert not torch.equal(t, low_discrepancy_times(n, "cpu"))


@pytest.mark.parametrize("noise", ["linear", "loglinear"])
@pytest.mark.parametrize("time_conditioning", [False, True])
def test_the_loss_is_the_weighted_cross_entropy_of_masked_tokens(
    random_model, noise, time_conditioning
):
    model = random_model(1, noise=noise, time_conditioning=time_conditioning).double()
    x, t = torch.randint(23, (5, 12)), torch.tensor([0.05, 0.2, 0.5, 0.8, 1.0], dtype=torch.float64)
    uniforms = torch.rand(x.shape, dtype=torch.float64)
    eps = 1e-3 if noise == "loglinear" else 0
    expected = 0.0
    for row, u, time in zip(x, uniforms, t):
        masked = u < (1 - eps) * time
        z = torch.where(masked, torch.tensor(23), row)
        log_p = model(z[None], timesteps=time[None]).logits[0].log_softmax(-1)
        expected -= log_p[torch.arange(12), row][masked].sum() / time
    assert nelbo_loss(model, x, t, uniforms).item() == pytest.approx(
        expected.item() / x.numel(), rel=1e-10
    )


def test_with_a_teacher_its_predictions_take_the_place_of_the_tokens(random_model):
    model, teacher = (random_model(seed).double() for seed in (1, 2))
    x, t = torch.randint(23, (3, 12)), torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)
    uniforms, expected = torch.rand(x.shape, dtype=torch.float64), 0.0
    for row, u, time in zip(x, uniforms, t):
        masked = u < time
        z = torch.where(masked, torch.tensor(23), row)[None]
        p, log_q = (
            one(z, timesteps=time[None]).logits[0, masked, :23].log_softmax(-1)
            for one in (teacher, model)
        )
        expected -= (p.exp() * log_q).sum() / time
    loss = nelbo_loss(model, x, t, uniforms, teacher=teacher)
    assert loss.item() == pytest.approx(expected.item() / x.numel(), rel=1e-10)


def test_a_model_that_is_its_own_teacher_has_nothing_to_learn(random_model):
    model = random_model(1).double()
    x, t = torch.randint(23, (3, 12)), torch.full((3,), 0.5, dtype=torch.float64)
    nelbo_loss(model, x, t, torch.rand(x.shape, dtype=torch.float64), teacher=model).backward()
    assert all(p.grad is None or p.grad.abs().max() < 1e-12 for p in model.parameters())


def test_evaluation_is_deterministic_and_needs_no_batch_size(random_model):
    model, tokens = random_model(1), torch.randint(23, (30, 12))
    torch.manual_seed(1)
    first = evaluate_nelbo(model, tokens)
    torch.manual_seed(2)
    assert evaluate_nelbo(model, tokens) == first
    assert evaluate_nelbo(model, tokens, batch_size=7) == pytest.approx(first, rel=1e-5)


def test_the_nelbo_of_a_uniform_model_is_the_log_of_its_vocabulary(random_model):
    model = random_model()
    (
        model.backbone.output_layer.linear.weight.data.zero_(),
        model.backbone.output_layer.linear.bias.data.zero_(),
    )
    tokens = torch.randint(23, (2000, 12), generator=torch.Generator().manual_seed(0))
    assert evaluate_nelbo(model, tokens, batch_size=500) == pytest.approx(math.log(23), rel=0.05)


def test_opened_gates_let_no_attention_through_and_all_of_its_gradient(random_model):
    model = random_model()
    initialize(model)
    for block in model.backbone.blocks:
        _, _, gate_attention, _, _, gate_mlp = block.adaLN_modulation.bias.chunk(6)
        assert (gate_attention == 4 / model.blocks).all() and (gate_mlp == 4 / model.blocks).all()
    z, other = torch.zeros(1, 12, dtype=torch.long), torch.zeros(1, 12, dtype=torch.long)
    other[0, -1] = 5
    assert torch.equal(model.hidden(z)[:, :-1], model.hidden(other)[:, :-1])
    model(other, labels=other).loss.backward()
    assert all(block.attn_out.weight.grad.abs().sum() > 0 for block in model.backbone.blocks)
