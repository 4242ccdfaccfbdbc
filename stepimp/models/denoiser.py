"""The protocol that every model is used through."""

from collections.abc import Callable
from typing import Protocol

import torch

from stepimp.noise import NoiseSchedule


class Denoiser(Protocol):
    """p_theta(x | z_t, t), split where the cost splits: the body and the vocabulary projection."""

    vocab_size: int
    """Rows V of the head. Ids that the tokenizer does not have are cut off or excluded by the
    bias, so that their probability is 0.
    """
    mask_id: int
    """Always below `vocab_size`: a layout whose head has no row for it is given an empty one."""
    special_ids: frozenset[int]
    """Tokens that the corruption never masks, such as CLS, SEP and padding."""
    frame: tuple[tuple[int, ...], tuple[int, ...]]
    """Tokens that every sequence begins and ends with, counted in its length; they are never
    masked.
    """
    shift: int
    """1 where the checkpoint predicts position i from row i - 1, else 0. `hidden` has undone it."""
    max_length: int
    blocks: int
    noise: NoiseSchedule
    time_conditioned: bool
    trained_masking: float
    """Share of tokens masked in training, at most: for larger t the curves warn."""
    device: torch.device
    fingerprint: str
    """Of the stored weights, whatever dtype and device they run in."""
    replayed: Callable[..., torch.Tensor] | None
    """Optional: `hidden(z, t, at)` for many calls with small batches of changing shape."""

    def hidden(
        self, z: torch.Tensor, t: torch.Tensor | None = None, at: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What the head takes, so that row i is about position i of z.

        z: [B, L] ids; t: [B] times; at: [B, n] positions asked about -> [B, n, D], or all
        positions [B, L, D].
        """

    def head(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [V, D] and bias [V] of the vocabulary projection."""

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """[n, D] -> [n, V] in fp32 or wider, minus infinity at the mask token."""

    def flops(self, length: int) -> tuple[float, float]:
        """FLOPs of a sequence's forward pass apart from the rows asked about, and of each such row
        with its logits.
        """

    def block_flops(self, length: int) -> float:
        """FLOPs of one block on one sequence, by which members of unequal width are compared."""
