"""Tensors that do not fit each other are refused before any kernel runs."""

import pytest
import torch

from stepimp.kernels.draw import draw_tokens, project_and_draw
from stepimp.kernels.statistics import vocabulary_statistics

ROWS, WEIGHT, BIAS = torch.randn(4, 8), torch.randn(11, 8), torch.zeros(11)
TARGETS = torch.arange(4)
MASK = 10


def statistics(rows=(ROWS,), heads=((WEIGHT, BIAS),), targets=TARGETS):
    return vocabulary_statistics(list(rows), list(heads), targets, MASK)


WRONG = {
    "floating-point tensors, not ndarray": dict(rows=[ROWS.numpy()]),
    "floating-point tensors, not torch.int64": dict(rows=[ROWS.long()]),
    "rows are on cpu, the weight or bias on meta": dict(heads=[(WEIGHT.to("meta"), BIAS)]),
    "rows are on cpu, the targets on meta": dict(targets=TARGETS.to("meta")),
    "int64 token ids, not list": dict(targets=[0, 1, 2, 3]),
    "int64 token ids, not torch.float32": dict(targets=TARGETS.float()),
    r"targets \(3,\) do not fit rows \(4, 8\)": dict(targets=TARGETS[:3]),
    "outside the vocabulary 0..10": dict(targets=TARGETS + 8),
    "targets outside": dict(targets=TARGETS - 1),
    "1 models' rows and 2 heads": dict(heads=[(WEIGHT, BIAS)] * 2),
    "0 models' rows": dict(rows=[], heads=[]),
    "a head is a pair of weight and bias, .* not a Linear": dict(heads=[torch.nn.Linear(8, 11)]),
    "a head is a pair of weight and bias": dict(heads=[(WEIGHT, BIAS, MASK)]),
    "heads of vocabularies of 11 and 12 tokens": dict(
        rows=[ROWS] * 2, heads=[(WEIGHT, BIAS), (torch.randn(12, 8), torch.zeros(12))]
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_statistics_of_what_does_not_fit(message):
    assert len(statistics()) == 3
    with pytest.raises(ValueError, match=message):
        statistics(**WRONG[message])


def test_a_row_without_a_sample_or_position_is_not_drawn():
    with pytest.raises(ValueError, match="4 rows, 3 samples and 4 positions"):
        project_and_draw(ROWS, (WEIGHT, BIAS), MASK, 0, range(3), range(4))
    with pytest.raises(ValueError, match="4 rows, 4 samples and 5 positions"):
        draw_tokens(ROWS, 0, torch.arange(4), range(5))
    with pytest.raises(ValueError, match="samples and positions are 4 integers each"):
        project_and_draw(ROWS, (WEIGHT, BIAS), MASK, 0, 0, range(4))


def test_numbers_that_name_no_random_draw():
    with pytest.raises(ValueError, match="mask token None do not fit each other"):
        project_and_draw(ROWS, (WEIGHT, BIAS), None, 0, range(4), range(4))
    with pytest.raises(ValueError, match="seed None, index 0 and position 0 must be whole numbers"):
        project_and_draw(ROWS, (WEIGHT, BIAS), MASK, None, range(4), range(4))
    with pytest.raises(ValueError, match="position -1 must be whole numbers from 0"):
        project_and_draw(ROWS, (WEIGHT, BIAS), MASK, 0, range(4), [-1] * 4)
