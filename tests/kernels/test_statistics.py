"""The vocabulary pass against its float64 twin, which reads like formulas (4) and (6)."""

import pytest
import torch
from fakes import projections

from stepimp.kernels import reference
from stepimp.kernels.statistics import vocabulary_statistics


def assert_equals_reference(rows, heads, targets, mask_id, rtol=1e-5, **blocks):
    result = vocabulary_statistics(rows, heads, targets, mask_id, **blocks)
    for single, exact in zip(
        result, reference.vocabulary_statistics(rows, heads, targets, mask_id)
    ):
        torch.testing.assert_close(single, exact, rtol=rtol, atol=1e-7)


# n, V, vocabulary block, row block
SHAPES = {
    "one block": (7, 50, 64, 16),
    "whole blocks": (8, 64, 16, 4),
    "ragged vocabulary": (9, 101, 16, 16),
    "ragged rows": (13, 64, 32, 5),
    "all ragged": (11, 97, 7, 3),
    "one row": (1, 101, 16, 4),
    "one column a block": (3, 11, 1, 4),
    "default blocks": (600, 1100, 512, 512),
}


@pytest.mark.parametrize("n, vocab, width, height", SHAPES.values(), ids=SHAPES)
def test_it_equals_the_float64_reference(n, vocab, width, height):
    assert_equals_reference(
        *projections(n, vocab), vocab - 1, vocabulary_block=width, row_block=height
    )


@pytest.mark.parametrize("mask_id", [0, 1, 15, 16, 40, 95, 96], ids=lambda i: f"mask {i}")
def test_the_mask_token_may_stand_anywhere(mask_id):
    """First, last, at the edges of a block, and, at 96, alone in the last one."""
    rows, heads, targets = projections(5, 97)
    targets[targets == mask_id] = 50
    assert_equals_reference(rows, heads, targets, mask_id, vocabulary_block=16)


@pytest.mark.parametrize("mask_id", [0, 96])
def test_the_mask_tokens_logit_changes_nothing(mask_id):
    rows, heads, targets = projections(5, 97)
    targets[targets == mask_id] = 50
    before = vocabulary_statistics(rows, heads, targets, mask_id, vocabulary_block=16)
    for _, bias in heads:
        bias[mask_id] = 80.0
    for single, other in zip(
        before, vocabulary_statistics(rows, heads, targets, mask_id, vocabulary_block=16)
    ):
        assert torch.equal(single, other)


@pytest.mark.parametrize("width", [1, 16, 512])
def test_a_token_that_every_model_excludes_by_minus_infinity_adds_nothing(width):
    rows, heads, targets = projections(6, 97)
    for _, bias in heads:
        bias[[3, 20]] = -torch.inf
    targets[(targets == 3) | (targets == 20)] = 50
    assert_equals_reference(rows, heads, targets, 96, vocabulary_block=width)


def test_logits_far_apart_neither_overflow_nor_vanish():
    rows, heads, targets = projections(6, 101, spread=100.0)
    heads[1][1][:16] += 300.0  # nearly all of one model's probability in the first block
    heads[0][1][96:] += 300.0  # and of the heavy one's in the last
    assert_equals_reference(rows, heads, targets, 100, vocabulary_block=16)


@pytest.mark.parametrize("distance", [1e-1, 1e-2, 1e-3])
def test_small_divergences_keep_their_digits(distance):
    """A KL of 1e-6 nats comes from sums of 5 nats: in fp32 nothing of it would be left."""
    rows, heads, targets = projections(20, 500, widths=(16,))
    near = (
        [rows[0], rows[0]],
        [heads[0], (heads[0][0], heads[0][1] + distance * projections(1, 500, seed=9)[1][0][1])],
    )
    kl = vocabulary_statistics(*near, targets, 499)[1][1]
    exact = reference.vocabulary_statistics(*near, targets, 499)[1][1]
    assert exact.max() < distance**2
    torch.testing.assert_close(kl, exact, rtol=1e-3 if distance < 1e-2 else 1e-4, atol=0)


def test_a_model_has_no_divergence_from_itself():
    rows, heads, targets = projections(10, 101)
    kl = vocabulary_statistics(
        [rows[0], rows[0].clone()], [heads[0], heads[0]], targets, 100, vocabulary_block=16
    )[1]
    assert kl.abs().max() <= 1e-6


def test_bfloat16_rows_give_fp32_results():
    """The products of bfloat16 numbers are summed in fp32; a projection in bfloat16 would be wrong
    by 1e-2.
    """
    rows, heads, targets = projections(10, 101, dtype=torch.bfloat16)
    assert_equals_reference(rows, heads, targets, 100, vocabulary_block=16)
    rounded = [torch.log_softmax((x @ w.T + b).double(), -1) for x, (w, b) in zip(rows, heads)]
    assert (rounded[0] - reference.log_probabilities(rows[0], heads[0], 100))[
        :, :100
    ].abs().max() > 1e-3


@pytest.mark.parametrize("others", [1, 2, 3])
def test_a_further_model_leaves_the_others_bit_identical(others):
    rows, heads, targets = projections(37, 211, widths=(16, 16, 8, 24, 16))
    few = vocabulary_statistics(
        rows[: 1 + others], heads[: 1 + others], targets, 210, vocabulary_block=16, row_block=10
    )
    all_five = vocabulary_statistics(rows, heads, targets, 210, vocabulary_block=16, row_block=10)
    for single, many in zip(few[:2], all_five[:2]):
        assert torch.equal(single, many[: 1 + others])
    assert torch.equal(few[2], all_five[2])


def test_several_tokens_may_be_asked_about_at_one_position():
    rows, heads, targets = projections(9, 101)
    asked = torch.stack([targets, targets.roll(1), targets.roll(2)], 1)
    ce, kl, entropy = vocabulary_statistics(
        rows, heads, asked, 100, vocabulary_block=16, row_block=4
    )
    for column in range(3):
        single = vocabulary_statistics(
            rows, heads, asked[:, column], 100, vocabulary_block=16, row_block=4
        )
        for result, alone in zip((ce[..., column], kl, entropy), single):
            assert torch.equal(result, alone)


def test_no_rows():
    rows, heads, _ = projections(0, 101)
    ce, kl, entropy = vocabulary_statistics(rows, heads, torch.empty(0, dtype=torch.long), 100)
    assert ce.shape == kl.shape == (4, 0) and entropy.shape == (0,)


def test_a_block_is_all_that_is_held():
    """Nothing computed from the rows is larger than a block of rows by a block of the
    vocabulary.
    """
    sizes = []

    class Watched(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            result = super().__torch_function__(function, types, args, kwargs or {})
            sizes.append(result.numel() if isinstance(result, torch.Tensor) else 0)
            return result

    rows, heads, targets = projections(40, 1000, widths=(4, 4))
    vocabulary_statistics(
        [x.as_subclass(Watched) for x in rows],
        heads,
        targets,
        999,
        vocabulary_block=50,
        row_block=8,
    )
    assert max(sizes) == 8 * 50
