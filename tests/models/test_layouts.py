"""Each layout, loaded through the front door and held to its reference forward pass."""

import pytest
import torch
from tiny_layouts import LAYOUTS
from tiny_models import LENGTH

from stepimp.models.checkpoints import load_checkpoint
from stepimp.models.loading import load

# What a layout is beside the default, by the names of `LAYOUTS`.
SHIFTED = {"dream", "diffugpt"}
FRAMED = {"bert", "roberta", "electra", "distilbert", "modernbert", "eurobert"}


@pytest.fixture(scope="module", params=LAYOUTS)
def loaded(request, tmp_path_factory):
    """(layout, denoiser, reference logits, tokenizer)"""
    folder = tmp_path_factory.mktemp("layout") / request.param
    path, reference = LAYOUTS[request.param](folder, 2, 1)
    family = load([path], folder, "cpu")
    return request.param, family.any, reference, family.tokenizer


@pytest.fixture
def z(loaded):
    """[3, 12] tokens, a third of them masked."""
    _, model, _, tokenizer = loaded
    draw = torch.Generator().manual_seed(5)
    z = torch.randint(5, len(tokenizer), (3, 12), generator=draw)
    return z.masked_fill(torch.rand(z.shape, generator=draw) < 0.35, model.mask_id)


def ours(model, z, at=None):
    return model.logits(model.hidden(z, at=at).flatten(0, 1)).double()


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def close(a, b):
    return torch.allclose(a, b, rtol=0, atol=1e-5 * float(1 + b.abs().max()))


def test_logits_are_those_of_the_reference(loaded, z):
    _, model, reference, tokenizer = loaded
    exact = reference(z).flatten(0, 1)[:, : model.vocab_size]
    exact[:, model.mask_id] = -torch.inf
    assert len(tokenizer) <= model.vocab_size <= len(tokenizer) + 1
    found, exact = (x.log_softmax(-1).nan_to_num(neginf=0) for x in (ours(model, z), exact))
    assert close(found, exact)


def test_positions_asked_about_give_the_same_rows(loaded, z):
    _, model, _, _ = loaded
    at = torch.tensor([[0, 11, 3], [1, 2, 0], [7, 7, 10]])
    whole = model.hidden(z)
    assert torch.allclose(model.hidden(z, at=at), whole[torch.arange(3)[:, None], at], atol=1e-6)


def test_the_first_position_reacts_to_the_last(loaded, z):
    _, model, _, _ = loaded
    other = z.clone()
    other[:, -1] = (z[:, -1] + 1) % 30 + 6
    place = 1 if model.shift else 0  # with a shift, position 0 has the row of position 0 itself
    assert (model.hidden(z)[:, place] - model.hidden(other)[:, place]).abs().amax(-1).min() > 1e-4


def test_the_mask_token_and_unknown_ids_have_no_probability(loaded, z):
    _, model, _, tokenizer = loaded
    p = ours(model, z).softmax(-1)
    assert (p[:, model.mask_id] == 0).all() and torch.allclose(
        p.sum(-1), torch.ones(len(p)).double()
    )
    expected = tokenizer.mask_token_id
    assert model.mask_id == (len(tokenizer) if expected is None else expected)


def test_what_the_layout_says_of_itself(loaded):
    name, model, _, tokenizer = loaded
    assert model.shift == int(name in SHIFTED), f"say in SHIFTED whether {name} is shifted"
    assert model.blocks == 2
    length = {"smdm": 2048, "roberta": LENGTH - 1}.get(name, LENGTH)
    assert model.max_length == length and not model.time_conditioned
    framed = ((2,), (3,)) if name in FRAMED else ((), ())
    assert model.frame == framed
    assert model.special_ids == (frozenset({0, 2, 3}) if name in FRAMED else frozenset())
    assert (model.trained_masking < 1) == (name in FRAMED)


def test_the_head_stays_apart_from_the_body(loaded, z):
    """No [B, L, V] appears: the body's widest output is a hidden state."""
    _, model, _, _ = loaded
    assert model.hidden(z).shape[-1] == model.head()[0].shape[1] < model.vocab_size * 100
    assert model.head()[0].shape[0] == len(model.head()[1]) == model.vocab_size


def test_eager_attention_goes_both_ways_as_well(loaded, z, tmp_path):
    name, model, _, tokenizer = loaded
    path, _ = LAYOUTS[name](tmp_path / name, 2, 1)
    eager = load_checkpoint(path, "cpu", attn="eager", tokenizer=tokenizer)
    assert close(eager.hidden(z), model.hidden(z))


def test_half_precision_stays_near(loaded, z, tmp_path):
    name, model, _, tokenizer = loaded
    path, _ = LAYOUTS[name](tmp_path / name, 2, 1)
    half = load_checkpoint(path, "cpu", "bfloat16", tokenizer=tokenizer)
    assert half.fingerprint == model.fingerprint and half.head()[0].dtype == torch.float32
    p, q = (ours(m, z).softmax(-1) for m in (model, half))
    assert (p - q).abs().sum(-1).mean() < 0.5
