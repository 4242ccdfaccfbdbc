"""Mask tokens, ids that a tokenizer does not have, and tokens that are never masked."""

import math
from dataclasses import replace

import pytest
import torch
from tiny_layouts import llada, masked_lm, smdm
from tiny_models import word_tokenizer
from tokenizers import processors

from stepimp.errors import StepimpError
from stepimp.kernels.blocks import EXCLUDED
from stepimp.kernels.draw import project_and_draw
from stepimp.kernels.statistics import vocabulary_statistics
from stepimp.models.checkpoints import load_checkpoint, open_checkpoint
from stepimp.models.loading import load
from stepimp.models.vocabulary import framing, mask_token, vocabulary

ROWS = 48


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    path, _ = llada(tmp_path_factory.mktemp("a") / "a", 1, 1)
    return open_checkpoint(path).layout


def test_the_mask_token_is_the_configs_then_the_tokenizers_then_the_last(layout):
    unsaid = replace(layout, mask_id=None)
    assert mask_token(layout, ROWS) == mask_token(layout, ROWS, word_tokenizer()) == 1
    assert mask_token(unsaid, ROWS, word_tokenizer()) == 1
    assert mask_token(unsaid, ROWS, word_tokenizer(mask=None)) == mask_token(unsaid, ROWS) == 47
    with pytest.raises(StepimpError, match="mask token 9 and its tokenizer 1"):
        mask_token(replace(layout, mask_id=9), ROWS, word_tokenizer())
    with pytest.raises(StepimpError, match="mask_token_id 48 is not in the vocabulary of 48"):
        mask_token(replace(layout, mask_id=48), ROWS)


def test_ids_past_the_tokenizer_are_cut_off_and_those_between_are_excluded(layout):
    said = vocabulary(layout, word_tokenizer())
    assert (said.size, said.unknown_ids) == (42, ())
    beyond = vocabulary(replace(layout, mask_id=45), word_tokenizer(mask=None))
    assert (beyond.size, beyond.mask_id, beyond.unknown_ids) == (46, 45, (41, 42, 43, 44))


def test_unknown_ids_between_have_no_probability(tmp_path):
    path, _ = llada(tmp_path / "a", 1, 1)
    checkpoint = open_checkpoint(path)
    moved = replace(checkpoint, layout=replace(checkpoint.layout, mask_id=45))
    model = load_checkpoint(moved, "cpu", tokenizer=word_tokenizer(mask=None))
    p = model.logits(model.hidden(torch.full((1, 5), 45))[0]).softmax(-1)
    assert (p[:, 41:] == 0).all() and torch.allclose(p.sum(-1), torch.ones(5))


def test_an_mdlm_gives_no_probability_to_ids_that_its_tokenizer_lacks(tmp_path, random_model):
    random_model(vocab_size=50, mask_token_id=1).save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    model = load([str(tmp_path)], tmp_path, "cpu").any
    p = model.logits(model.hidden(torch.full((1, 5), 1))[0]).softmax(-1)
    assert (p[:, 42:] == 0).all() and torch.allclose(p.sum(-1), torch.ones(5))


@pytest.mark.parametrize("impl", ["reference", "torch", "triton"])
def test_excluded_ids_leave_the_kernels_exact(device, impl):
    """Whole blocks of the vocabulary are excluded, first and last ones among them."""
    draw = torch.Generator().manual_seed(0)
    vocab, mask_id = 200, 70
    out = [*range(0, 64), *range(128, 200)]
    rows = [torch.randn(5, 16, generator=draw) for _ in range(2)]
    heads = [
        (torch.randn(vocab, 16, generator=draw), torch.randn(vocab, generator=draw))
        for _ in range(2)
    ]
    small = [(w[64:128].clone(), b[64:128].clone()) for w, b in heads]
    for _, bias in heads:
        bias[out] = EXCLUDED
    targets = torch.randint(71, 128, (5,), generator=draw)
    options = dict(vocabulary_block=32) if impl == "torch" else {}

    def on(pairs):
        return [tuple(x.to(device) for x in pair) for pair in pairs]

    found = vocabulary_statistics(
        [x.to(device) for x in rows], on(heads), targets.to(device), mask_id, impl=impl, **options
    )
    exact = vocabulary_statistics(rows, small, targets - 64, mask_id - 64, impl="reference")
    for ours, right in zip(found, exact):
        assert torch.allclose(ours.cpu(), right, atol=2e-5)
    names = (range(5), range(5))
    tokens = project_and_draw(rows[0].to(device), on(heads)[0], mask_id, 3, *names, impl=impl)
    assert ((tokens >= 64) & (tokens < 128) & (tokens != mask_id)).all()


def test_framing_is_what_the_tokenizer_puts_around_a_text():
    assert framing(word_tokenizer(bert=True)) == ((2,), (3,))
    assert framing(word_tokenizer()) == ((), ())
    start = word_tokenizer(bert=True)
    start.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", 2)]
    )
    assert framing(start) == ((2,), ())


def test_members_with_embeddings_padded_to_different_sizes_run_together(tmp_path):
    paths = [llada(tmp_path / name, 1, seed)[0] for name, seed in (("a", 1), ("b", 2))]
    checkpoint = open_checkpoint(paths[1])
    assert checkpoint.layout.config.vocab_size == ROWS
    family = load(paths, tmp_path, "cpu")
    assert {model.vocab_size for model in family.denoisers.values()} == {42}


def test_flops_count_what_runs(tmp_path):
    """Products of all matrices at every position, and scores and values of every pair."""
    bert = load_checkpoint(masked_lm("bert")(tmp_path / "a", 2, 1)[0], "cpu")
    block = 2 * (4 * 32 * 32 + 2 * 32 * 48) * 10 + 4 * 32 * 10 * 10
    transform = 2 * 32 * 32 * 10
    assert bert.block_flops(10) == block
    assert bert.flops(10) == (2 * block + transform, 2 * 32 * bert.vocab_size)
    grouped = load_checkpoint(smdm(tmp_path / "b", 1, 1)[0], "cpu")
    expected = 2 * (4 * 128 * 128 + 3 * 128 * 48) * 10 + 4 * 128 * 10 * 10
    assert math.isclose(grouped.block_flops(10), expected)
