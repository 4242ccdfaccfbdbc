"""The tokens of a prefix are checked in the library, whoever calls it."""

import pytest
import torch

from stepimp.errors import StepimpError
from stepimp.models.options import RunOptions
from stepimp.sampling.prefix import check_prefix


@pytest.mark.parametrize(
    "prefix, message",
    [
        (torch.tensor([1.5]), "int64 token ids, not torch.float32"),
        (torch.tensor([True]), "not torch.bool"),
        ([1, 2], "not list"),
        (torch.tensor([[[1]]]), r"the shape \[P\] or \[N, P\], not \[1, 1, 1\]"),
        (torch.tensor([1, 10]), r"the token 10; the vocabulary is 0\.\.9"),
        (torch.tensor([[1, -1]]), "the token -1"),
        (torch.tensor(10**9), "the shape"),
    ],
)
def test_what_is_no_prefix(prefix, message):
    with pytest.raises(StepimpError, match=message):
        check_prefix(prefix, 10)


@pytest.mark.parametrize("prefix", [torch.tensor([0, 9]), torch.zeros(2, 3, dtype=torch.int32)])
def test_what_is_a_prefix(prefix):
    check_prefix(prefix, 10)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, True, None])
def test_what_is_no_seed(seed):
    with pytest.raises(StepimpError, match="is not a seed: choose a whole number"):
        RunOptions(seed=seed)
