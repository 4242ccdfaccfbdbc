"""The protocol that every model is used through."""

from typing import Protocol

import torch

from stepimp.noise import NoiseSchedule


class Denoiser(Protocol):
    """p_theta(x | z_t, t), split where the cost splits: the body and the vocabulary projection."""

    vocab_size: int
    mask_id: int
    max_length: int
    blocks: int
    noise: NoiseSchedule
    time_conditioned: bool

    def hidden(
        self, z: torch.Tensor, t: torch.Tensor | None = None, at: torch.Tensor | None = None
    ) -> torch.Tensor:
        """z: [B, L] ids; t: [B] times; at: [B, n] positions asked about -> [B, n, D], or all
        positions [B, L, D].
        """

    # Optional: `replayed(z, t, at)`, the same as `hidden`, for many calls with small batches of
    # changing shape.

    def head(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [V, D] and bias [V] of the vocabulary projection."""

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """[n, D] -> [n, V] in fp32 or wider, minus infinity at the mask token."""

    def flops(self, length: int) -> tuple[float, float]:
        """FLOPs of a sequence's forward pass apart from the rows asked about, and of each such row
        with its logits.
        """
