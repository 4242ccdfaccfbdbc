"""The protocol that every model is used through."""

from collections.abc import Callable
from typing import Protocol

import torch

from stepimp.errors import StepimpError
from stepimp.kernels.linear import project
from stepimp.noise import NoiseSchedule


class Denoiser(Protocol):
    """p_theta(x | z_t, t), split where the cost splits: the body and the vocabulary projection.

    A model of your own derives from it, as in `class Mine(torch.nn.Module, Denoiser)`, and needs
    `vocab_size`, `mask_id`, `max_length`, `blocks`, `device`, `fingerprint` (any text that tells
    its weights from others), `hidden` and `head`; to count FLOPs also `flops` and `block_flops`.
    The other attributes have defaults: `special_ids` and `frame` (none), `shift` (0), `noise`
    (linear), `time_conditioned` (False), `trained_masking` (1.0) and `replayed` (None).
    """

    vocab_size: int
    """Rows V of the head. Ids that the tokenizer does not have are cut off or excluded by the
    bias, so that their probability is 0.
    """
    mask_id: int
    """Always below `vocab_size`: a layout whose head has no row for it is given an empty one."""
    special_ids: frozenset[int] = frozenset()
    """Tokens that the corruption never masks, such as CLS, SEP and padding."""
    frame: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    """Tokens that every sequence begins and ends with, counted in its length; they are never
    masked.
    """
    shift: int = 0
    """1 where the checkpoint predicts position i from row i - 1, else 0. `hidden` has undone it."""
    max_length: int
    """The longest sequence it reads, in tokens."""
    blocks: int
    noise: NoiseSchedule = NoiseSchedule()
    time_conditioned: bool = False
    """Whether `hidden` needs t."""
    trained_masking: float = 1.0
    """Share of tokens masked in training, at most: for larger t the curves warn."""
    device: torch.device
    fingerprint: str
    """Of the stored weights, whatever dtype and device they run in."""
    replayed: Callable[..., torch.Tensor] | None = None
    """Optional: `hidden(z, t, at)` for the sampler's many calls with small batches of changing
    shape, whose arguments are known to fit."""

    def hidden(
        self, z: torch.Tensor, t: torch.Tensor | None = None, at: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What the head takes, so that row i is about position i of z.

        z: [B, L] ids; t: [B] times; at: [B, n] positions asked about -> [B, n, D], or all
        positions [B, L, D]. The models of `load` raise ValueError for tensors that do not fit, as
        `check_inputs` does.
        """

    def head(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [V, D] and bias [V] of the vocabulary projection."""

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """[n, D] -> [n, V] in fp32 or wider, minus infinity at the mask token."""
        return project(rows, self.head(), self.mask_id)

    def flops(self, length: int) -> tuple[float, float]:
        """FLOPs of a sequence's forward pass apart from the rows asked about, and of each such row
        with its logits.
        """

    def block_flops(self, length: int) -> float:
        """FLOPs of one block on one sequence, by which members of unequal width are compared."""


IDS = (torch.int64, torch.int32)


def check_inputs(model: Denoiser, z, t, at):
    """Raises ValueError unless z, t and at are what `Denoiser.hidden` takes.

    On a CUDA device values out of range go unnoticed: looking at them would wait for all work
    before them.
    """
    if not isinstance(z, torch.Tensor) or z.dtype not in IDS or z.ndim != 2 or not len(z):
        raise ValueError(f"z is {described(z)}, not int64 token ids of shape [B, L]")
    if z.shape[1] > model.max_length:
        raise ValueError(
            f"z has {z.shape[1]} tokens per sequence; the model reads at most {model.max_length}"
        )
    if z.device != model.device:
        raise ValueError(f"z is on {z.device}, the model on {model.device}")
    check_range("z", z, model.vocab_size - 1)
    if t is not None:
        if not isinstance(t, torch.Tensor) or t.shape != z.shape[:1]:
            raise ValueError(f"t is {described(t)}, not a time for each of {len(z)} sequences")
        check_range("t", t, 1)
    if at is not None:
        if not isinstance(at, torch.Tensor) or at.dtype != torch.int64 or at.ndim != 2:
            raise ValueError(f"at is {described(at)}, not int64 positions of shape [B, n]")
        if len(at) != len(z) or at.device != z.device:
            raise ValueError(f"at is {described(at)}, z {described(z)}: they do not fit each other")
        check_range("at", at, z.shape[1] - 1)


def checked_rows(model: Denoiser, hidden: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """What a model gave for positions `at` [B, n]. Raises StepimpError unless it is [B, n, D]: rows
    of all positions would be taken for those at the first n.
    """
    if hidden.shape[:2] != at.shape:
        raise StepimpError(
            f"hidden(z, t, at) of a {type(model).__name__} gives the shape {list(hidden.shape)} "
            f"for positions at of shape {list(at.shape)}: it must be [B, n, D], the rows there."
        )
    return hidden


def check_range(name: str, values: torch.Tensor, largest: int):
    """Raises ValueError for values outside 0..largest, NaN among them, unless they are on a CUDA
    device.
    """
    if values.device.type == "cpu" and not ((values >= 0) & (values <= largest)).all():
        raise ValueError(f"{name} has values outside 0..{largest}")


def described(value) -> str:
    """What a value is, in words: the dtype, shape and device of a tensor."""
    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}"
    kind = str(value.dtype).removeprefix("torch.")
    return f"{kind} of shape {list(value.shape)} on {value.device}"
