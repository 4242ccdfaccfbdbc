import copy
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain import PlainDenoiser
from public_mdlm import (
    HEADS,
    LENGTH,
    PUBLIC_CONFIG,
    TOLERANCE,
    WIDTH,
    V,
    public_shapes,
    reference,
)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM

from stepimp.errors import StepimpError
from stepimp.kernels.linear import runs_on_onednn
from stepimp.models.checkpoints import load_checkpoint
from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.models.mdlm_config import MDLMConfig
from stepimp.noise import corrupt


@pytest.fixture
def z():
    return torch.randint(V, (3, LENGTH), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def public_checkpoint(tmp_path):
    """A folder as the publishers wrote it: their names, shapes and config.json, and nothing of
    stepimp's own.
    """
    generator = torch.Generator().manual_seed(5)
    tensors = {
        name: 0.3 * torch.randn(shape, generator=generator)
        for name, shape in public_shapes(2).items()
    }
    half = WIDTH // HEADS // 2
    tensors["backbone.rotary_emb.inv_freq"] = 10000.0 ** (-torch.arange(half) / half)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(PUBLIC_CONFIG))
    return tmp_path


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("noise", ["linear", "loglinear"])
@pytest.mark.parametrize("time_conditioning", [False, True])
def test_forward_pass_agrees_with_the_published_description(
    random_model, z, time_conditioning, noise, training
):
    model = random_model(3, vocab_size=V, time_conditioning=time_conditioning, noise=noise)
    t = torch.tensor([0.1, 0.5, 0.9])
    with torch.set_grad_enabled(training):  # inference has its own kernels
        found = model(z, timesteps=t).logits.log_softmax(-1)[..., : V - 1]
    alpha = 1 - t.double() * (0.999 if noise == "loglinear" else 1)
    sigma = -alpha.log() if time_conditioning else torch.zeros(3)
    expected = [
        reference(model.state_dict(), row, s, 2) for row, s in zip(z.numpy(), sigma.numpy())
    ]
    assert np.abs(found.detach().numpy() - np.stack(expected)).max() < TOLERANCE


@pytest.mark.parametrize(
    "load", [AutoModelForMaskedLM.from_pretrained, lambda path: load_checkpoint(path, "cpu")]
)
def test_a_checkpoint_in_the_public_layout_loads_and_round_trips(
    public_checkpoint, tmp_path, z, load
):
    model = load(str(public_checkpoint))
    stored = load_file(public_checkpoint / "model.safetensors")
    assert isinstance(model, MDLMForMaskedLM)
    assert (model.mask_id, model.noise.name, model.blocks, model.max_length) == (
        V - 1,
        "loglinear",
        2,
        32,
    )
    found = model.eval()(z).logits.log_softmax(-1)[..., : V - 1].detach().numpy()
    assert (
        np.abs(found - np.stack([reference(stored, row, 0.0, 2) for row in z.numpy()])).max()
        < TOLERANCE
    )
    model.save_pretrained(tmp_path / "again")
    again = load_file(tmp_path / "again" / "model.safetensors")
    assert again.keys() == stored.keys()
    assert all(torch.equal(again[name], stored[name]) for name in stored)


def test_parameter_names_and_shapes_are_the_public_ones(random_model):
    state = random_model(vocab_size=V).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == public_shapes(2)


def test_the_public_model_has_the_published_number_of_parameters():
    with torch.device("meta"):
        model = MDLMForMaskedLM(MDLMConfig())
    assert sum(p.numel() for p in model.parameters()) == 169_627_218


@pytest.mark.parametrize("time_conditioning", [False, True])
def test_hidden_at_positions_equals_the_rows_of_hidden(random_model, z, time_conditioning):
    model = random_model(time_conditioning=time_conditioning)
    at, t = torch.tensor([[0, 5], [11, 11], [3, 2]]), torch.tensor([0.2, 0.6, 1.0])
    rows = model.hidden(z, t)[torch.arange(3)[:, None], at]
    assert torch.allclose(model.hidden(z, t, at), rows, atol=TOLERANCE)


def test_attention_looks_both_ways(random_model, z):
    model, other = random_model(), z.clone()
    other[:, -1] = (z[:, -1] + 1) % V
    first = lambda ids: model.hidden(ids)[:, 0]  # noqa: E731
    assert not torch.allclose(first(z), first(other), atol=1e-3)


def test_eager_attention_equals_sdpa(random_model, z):
    model = random_model()
    outputs = []
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        assert model.config._attn_implementation == implementation
        outputs.append(model.hidden(z))
    assert torch.allclose(*outputs, atol=TOLERANCE)


@pytest.mark.parametrize("dtype, tolerance", [("bfloat16", 0.05), ("float64", TOLERANCE)])
def test_other_dtypes_compute_the_same(public_checkpoint, z, dtype, tolerance):
    plain, other = (
        load_checkpoint(str(public_checkpoint), "cpu", name) for name in ("float32", dtype)
    )
    hidden = other.hidden(z)
    assert hidden.dtype == getattr(torch, dtype)
    assert other.logits(hidden[0]).dtype == torch.promote_types(hidden.dtype, torch.float32)
    assert (hidden.double() - plain.hidden(z).double()).abs().mean() < tolerance * plain.hidden(
        z
    ).abs().mean()


def test_bf16_weights_load_in_their_own_dtype_with_usable_angles(random_model, tmp_path, z):
    model = random_model()
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = MDLMForMaskedLM.from_pretrained(tmp_path).eval()
    assert loaded.dtype == torch.bfloat16
    cos, sin = loaded.backbone.rotary_emb(LENGTH, torch.ones(1))
    angles = (torch.arange(LENGTH)[:, None] * 10000.0 ** (-torch.arange(4) / 4)).tile(2)
    sign = torch.tensor([-1.0] * 4 + [1.0] * 4)
    assert torch.allclose(cos, angles.cos(), atol=1e-6) and torch.allclose(
        sin, sign * angles.sin(), atol=1e-6
    )
    assert torch.equal(loaded.hidden(z), model.hidden(z))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_weights_give_the_same_bits(random_model, z, dtype):
    model, at = random_model().to(dtype), torch.tensor([[0, 3, 5, 7]] * len(z))
    if not runs_on_onednn(model.head()[0]):
        pytest.skip("oneDNN has no products of bf16 on this processor: nothing is packed")
    with torch.no_grad():
        plain = model.hidden(z), model.hidden(z, None, at)
        model.freeze()
        assert model.backbone.blocks[0].weights()["qkv"].is_mkldnn
        packed = model.hidden(z), model.hidden(z, None, at)
        copied = copy.deepcopy(model).hidden(z)
    assert all(map(torch.equal, plain, packed)) and torch.equal(plain[0], copied)


def test_the_plain_denoiser_of_the_benchmarks(random_model, z):
    model = random_model().freeze()
    plain = PlainDenoiser(model)
    torch.testing.assert_close(
        plain.logits(plain.hidden(z)), model(z).logits, atol=TOLERANCE, rtol=TOLERANCE
    )


def test_freeze_folds_the_constant_conditioning(random_model, z, monkeypatch):
    model = random_model(dropout=0.5).train()
    with torch.no_grad():
        before = random_model(dropout=0.5).hidden(z)
    model.freeze()
    monkeypatch.setattr(model.backbone, "sigma_map", None)
    assert torch.equal(model.hidden(z), before)
    assert not model.hidden(z).requires_grad


def test_a_frozen_time_conditioned_model_still_sees_the_time(random_model, z):
    model = random_model(time_conditioning=True).freeze()
    early, late = (model.hidden(z, torch.full((3,), t)) for t in (0.9, 0.1))
    assert not torch.allclose(early, late, atol=1e-3)
    with pytest.raises(ValueError, match="needs t"):
        model.hidden(z)


@pytest.mark.parametrize("mask", [V - 1, 7])
def test_the_mask_token_has_probability_zero(random_model, z, mask):
    model = random_model(mask_token_id=mask)
    p = model(z).logits.softmax(-1)
    assert (p[..., mask] == 0).all()
    assert (p[..., [i for i in range(V) if i != mask]] > 0).all()


def test_forward_with_labels_is_the_weighted_loss(random_model, z):
    model = random_model()
    labels, weights = z.masked_fill(z % 3 > 0, -100), torch.rand(z.shape)
    labels[labels == V - 1] = -100
    losses = F.cross_entropy(
        model(z).logits.transpose(1, 2), labels, ignore_index=-100, reduction="none"
    )
    weighted = model(z, labels=labels, label_weights=weights).loss.item()
    assert weighted == pytest.approx((losses * weights).sum().item() / z.numel())
    assert model(z, labels=labels).loss.item() == pytest.approx(losses.sum().item() / z.numel())


def test_gradients_reach_every_parameter_after_a_step(random_model, z):
    model = random_model(time_conditioning=True)
    noisy = corrupt(z, torch.rand(z.shape), 0.5, model.mask_id, model.noise)
    model(
        noisy, timesteps=torch.full((3,), 0.5), labels=z.masked_fill(z == model.mask_id, -100)
    ).loss.backward()
    assert [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ] == []


def test_flash_attention_asked_for_on_the_cpu_is_one_clear_message(public_checkpoint):
    with pytest.raises(StepimpError, match="flash_attention_2 needs a CUDA device.*attention sdpa"):
        load_checkpoint(str(public_checkpoint), "cpu", attn="flash_attention_2")


def test_flash_attention_asked_for_without_its_package_is_one_clear_message(
    public_checkpoint, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: False)
    with pytest.raises(StepimpError, match="flash_attention_2 is not installed.*attention sdpa"):
        load_checkpoint(str(public_checkpoint), "cuda", "bfloat16", "flash_attention_2")


def test_auto_attention_falls_back_to_sdpa(public_checkpoint):
    assert (
        load_checkpoint(str(public_checkpoint), "cpu", "bfloat16").config._attn_implementation
        == "sdpa"
    )


def test_an_unknown_attention_lists_the_known_ones(public_checkpoint):
    with pytest.raises(StepimpError, match="Unknown attention 'fast'.*sdpa"):
        load_checkpoint(str(public_checkpoint), "cpu", attn="fast")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"noise": "cosine"}, "cosine"),
        ({"n_heads": 3}, "n_heads"),
        ({"mask_token_id": V}, "mask_token_id"),
    ],
)
def test_a_config_that_makes_no_model_is_named(change, message):
    with pytest.raises(StepimpError, match=message):
        MDLMForMaskedLM(MDLMConfig(**{**PUBLIC_CONFIG, **change}))
