"""What the tokens that a sample starts with must be."""

import torch

from stepimp.errors import StepimpError


def check_prefix(prefix: torch.Tensor, vocab_size: int):
    """Raises StepimpError for a prefix that is not [P] or [N, P] token ids of a vocabulary."""
    if not isinstance(prefix, torch.Tensor) or prefix.dtype not in (torch.int64, torch.int32):
        kind = prefix.dtype if isinstance(prefix, torch.Tensor) else type(prefix).__name__
        raise StepimpError(f"A prefix is a tensor of int64 token ids, not {kind}.")
    if prefix.ndim not in (1, 2):
        raise StepimpError(f"A prefix has the shape [P] or [N, P], not {list(prefix.shape)}.")
    outside = prefix[(prefix < 0) | (prefix >= vocab_size)]
    if len(outside):
        raise StepimpError(
            f"A prefix has the token {int(outside[0])}; the vocabulary is 0..{vocab_size - 1}."
        )
