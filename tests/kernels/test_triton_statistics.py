"""The Triton kernel of `vocabulary_statistics`: in the interpreter, or on a GPU if there is one."""

import pytest
import torch
from fakes import projections

from stepimp.errors import StepimpError
from stepimp.kernels import choice, reference
from stepimp.kernels.statistics import vocabulary_statistics

pytest.importorskip("triton", reason="needs Triton")
from stepimp.kernels import triton_statistics


@pytest.fixture(params=["one tile a span", "all tiles in two spans"])
def spans(request, monkeypatch):
    """The ways in which programs share a vocabulary."""
    if request.param == "all tiles in two spans":
        monkeypatch.setattr(triton_statistics, "SPANS", 2)
        monkeypatch.setattr(triton_statistics, "PROGRAMS", 0)


def on(device, rows, heads, targets):
    return (
        [x.to(device) for x in rows],
        [(w.to(device), b.to(device)) for w, b in heads],
        targets.to(device),
    )


def plain(rows, heads, targets, mask_id):
    """What one writes first, in fp32."""
    logits = [x.float() @ w.float().T + b.float() for x, (w, b) in zip(rows, heads)]
    log_p = [
        single.index_fill(1, torch.tensor(mask_id), -1e30).log_softmax(-1) for single in logits
    ]
    ce = torch.stack([-single.gather(1, targets[:, None])[:, 0] for single in log_p])
    kl = torch.stack([(log_p[0].exp() * (log_p[0] - single)).sum(-1) for single in log_p])
    return ce, kl, -(log_p[0].exp() * log_p[0]).sum(-1)


def assert_as_exact_as_the_plain_way(device, rows, heads, targets, mask_id, tolerance=1e-6):
    """Errors against float64 of at most twice those of the plain way in fp32, or `tolerance`."""
    result = vocabulary_statistics(*on(device, rows, heads, targets), mask_id, impl="triton")
    exact = reference.vocabulary_statistics(rows, heads, targets, mask_id)
    for ours, plainly, right in zip(result, plain(rows, heads, targets, mask_id), exact):
        assert ours.dtype == torch.float64 and ours.shape == right.shape
        assert ((ours.cpu() - right).abs() <= tolerance + 2 * (plainly - right).abs().max()).all()


# n, V, widths, dtype
SHAPES = {
    "one row": (1, 300, (16, 16), torch.float32),
    "one token left": (3, 2, (16, 16), torch.float32),
    "ragged vocabulary and rows": (67, 211, (32, 32, 32), torch.float32),
    "whole tiles": (64, 128, (32, 64), torch.float32),
    "widths that fill no tile": (5, 150, (7, 33, 50), torch.float32),
    "bfloat16": (9, 301, (64, 128), torch.bfloat16),
    "bfloat16, many rows": (130, 131, (64, 64), torch.bfloat16),
    "bfloat16, ragged width": (3, 70, (40, 64), torch.bfloat16),
    "float16": (3, 130, (64, 64), torch.float16),
    "six models": (4, 130, (16, 8, 16, 24, 16, 12), torch.float32),
    "no other model": (4, 130, (16,), torch.float32),
}


@pytest.mark.parametrize("n, vocab, widths, dtype", SHAPES.values(), ids=SHAPES)
def test_it_equals_the_float64_reference(device, spans, poisoned_memory, n, vocab, widths, dtype):
    assert_as_exact_as_the_plain_way(device, *projections(n, vocab, widths, dtype=dtype), vocab - 1)


@pytest.mark.parametrize("mask_id", [0, 1, 63, 64, 100, 128])
def test_the_mask_token_may_stand_anywhere(device, spans, mask_id):
    """First, last, at the edges of a tile, and, at 128, alone in the last one; its own logit counts
    for nothing.
    """
    rows, heads, targets = projections(5, 129)
    targets[targets == mask_id] = 50
    for _, bias in heads:
        bias[mask_id] = 80.0
    assert_as_exact_as_the_plain_way(device, rows, heads, targets, mask_id)


def test_a_token_that_every_model_excludes_by_minus_infinity_adds_nothing(device):
    rows, heads, targets = projections(6, 97)
    for _, bias in heads:
        bias[[3, 20]] = -torch.inf
    targets[(targets == 3) | (targets == 20)] = 50
    result = vocabulary_statistics(*on(device, rows, heads, targets), 96, impl="triton")
    for ours, exact in zip(result, reference.vocabulary_statistics(rows, heads, targets, 96)):
        torch.testing.assert_close(ours.cpu(), exact, rtol=1e-5, atol=1e-5)


def test_logits_far_apart_neither_overflow_nor_vanish(device, spans):
    rows, heads, targets = projections(6, 201, spread=100.0)
    heads[1][1][:16] += 300.0  # nearly all of one model's probability in the first tile
    heads[0][1][190:] += 300.0  # and of the heavy one's in the last
    assert_as_exact_as_the_plain_way(device, rows, heads, targets, 200)


def test_a_model_has_no_divergence_from_itself(device, spans):
    rows, heads, targets = on(device, *projections(10, 301))
    kl = vocabulary_statistics(
        [rows[0], rows[0].clone()], [heads[0], heads[0]], targets, 300, impl="triton"
    )[1]
    assert kl.abs().max() <= 1e-6


def test_what_lies_beyond_rows_and_weights_is_never_used(device):
    """NaN follows the last row, the last token's weights and the last bias."""

    def followed(x):
        return torch.cat([x, torch.full((300, *x.shape[1:]), torch.nan)])[: len(x)]

    rows, heads, targets = projections(3, 70, (7, 32))
    heads = [(followed(w), followed(b)) for w, b in heads]
    assert_as_exact_as_the_plain_way(device, [followed(x) for x in rows], heads, targets, 69)


def test_several_tokens_may_be_asked_about_at_one_position(device):
    rows, heads, targets = on(device, *projections(9, 101, (16, 8)))
    asked = torch.stack([targets, targets.roll(1)], 1)
    ce, kl, entropy = vocabulary_statistics(rows, heads, asked, 100, impl="triton")
    for column in range(2):
        alone = vocabulary_statistics(rows, heads, asked[:, column], 100, impl="triton")
        for result, single in zip((ce[..., column], kl, entropy), alone):
            assert torch.equal(result, single)


def test_no_rows(device):
    rows, heads, targets = on(device, *projections(0, 101))
    ce, kl, entropy = vocabulary_statistics(rows, heads, targets, 100, impl="triton")
    assert ce.shape == kl.shape == (4, 0) and entropy.shape == (0,)


def test_auto_on_a_cpu_is_torch_and_reference_is_itself():
    rows, heads, targets = projections(3, 50)
    auto, by_torch, exact = (
        vocabulary_statistics(rows, heads, targets, 49, impl=i)
        for i in ("auto", "torch", "reference")
    )
    assert all(torch.equal(*pair) for pair in zip(auto, by_torch))
    assert all(
        torch.equal(*pair)
        for pair in zip(exact, reference.vocabulary_statistics(rows, heads, targets, 49))
    )


REFUSED = {
    "unknown": ("cuda", {}, "Unknown implementation 'cuda': use auto, reference, torch or triton"),
    "float64": ("triton", {"dtype": torch.float64}, "rows are float64: use impl='torch'"),
    "no device": ("triton", {"interpreted": False}, "needs a CUDA device, and the rows are on cpu"),
    "not installed": ("triton", {"installed": None}, "Triton is not installed"),
}


@pytest.mark.parametrize("impl, given, message", REFUSED.values(), ids=REFUSED)
def test_what_cannot_run_is_refused(monkeypatch, impl, given, message):
    if "interpreted" in given:
        monkeypatch.setattr(choice, "interpreted", lambda: False)
    if "installed" in given:
        monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StepimpError, match=message):
        vocabulary_statistics(
            *projections(3, 50, dtype=given.get("dtype", torch.float32)), 49, impl=impl
        )


@pytest.mark.parametrize("mask_id, cut", [(50, 0), (-1, 0), (49, 1)])
def test_rows_and_heads_that_do_not_fit_are_refused_before_anything_runs(mask_id, cut):
    rows, heads, targets = projections(3, 50, (16, 8))
    with pytest.raises(ValueError, match="do not fit"):
        vocabulary_statistics([rows[0], rows[1][:, cut:]], heads, targets, mask_id, impl="triton")
