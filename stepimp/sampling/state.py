"""Samples on their way from masked to finished: when each position unmasks, and what it cost.

All of it is decided before any logits are computed. A position's uniform u says when it unmasks, at
time u: ancestral sampling rounds it up to a step of T; first-hitting sampling, the limit of T to
infinity (arXiv 2409.02908), unmasks the positions one by one in the order of u. With n masked
positions the largest u is t u'^(1/n), t the largest before and u' uniform: the times that the
literature draws. A plan unmasks its groups in the same order. So all samplers share their order.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral

import numpy as np
import torch

from stepimp import randomness
from stepimp.checks import shortened
from stepimp.errors import StepimpError
from stepimp.models.denoiser import Denoiser
from stepimp.models.options import check_seed, plain
from stepimp.sampling.prefix import check_prefix
from stepimp.wording import counted

Frame = tuple[tuple[int, ...], tuple[int, ...]]
NO_FRAME: Frame = ((), ())


@dataclass
class State:
    """Partly denoised samples, on the way from their first step to step 0."""

    indices: np.ndarray
    """[N] sample indices, which name the random numbers."""
    z: torch.Tensor
    """[N, L] tokens."""
    unmask_step: np.ndarray
    """[N, L] step at which each position unmasks, counted down to 1; 0 for a given token."""
    clock: int
    """All events at steps above it have happened."""
    shared: bool
    """Whether all samples started from the same tokens."""
    times: np.ndarray
    """[steps] or [N, steps] time at which step i begins, at index i - 1."""

    def copy(self) -> "State":
        """A branch. Unmasking steps and times are never written to and stay shared."""
        steps, times = self.unmask_step, self.times
        return State(self.indices, self.z.clone(), steps, self.clock, self.shared, times)

    def time(self, row: int, step: int) -> float:
        """Time at which a step of a sample begins."""
        return float(
            self.times[..., step - 1] if self.times.ndim == 1 else self.times[row, step - 1]
        )


@dataclass
class Counts:
    """What sampling cost."""

    forwards: Counter = field(default_factory=Counter)
    """model -> sequences that went through its body."""
    tokens: Counter = field(default_factory=Counter)
    """model -> tokens drawn from it."""
    projected: Counter = field(default_factory=Counter)
    """model -> rows of its vocabulary projection."""
    sequential: Counter = field(default_factory=Counter)
    """model -> calls that had to wait for the call before, summed over the samples."""
    batches: int = 0
    """Calls of a body."""

    def forward(self, model: str, sequences: int, sequential: int | None = None):
        """Counts one call of a model's body.

        sequential: the samples that waited for it, by default all of the sequences.
        """
        self.forwards[model] += sequences
        self.sequential[model] += sequences if sequential is None else sequential
        self.batches += 1

    def drawn(self, model: str, tokens: int):
        """Counts tokens drawn from as many rows of logits."""
        self.tokens[model] += tokens
        self.projected[model] += tokens


def check(
    denoisers: dict[str, Denoiser],
    schedule,
    length: int,
    prefix: torch.Tensor | None = None,
):
    """Raises StepimpError if the schedule names a model that is not loaded or is made for fewer
    masked positions, if `length` is outside 1 to the models' maximum, or if the prefix is longer
    or leaves nothing to draw.

    schedule: anything with `models`; `length` is the most masked positions it is made for, if any.
    """
    if not isinstance(denoisers, Mapping):
        raise StepimpError(
            f"The denoisers are a dict from name to denoiser, not {type(denoisers).__name__}: a "
            "family has it as `denoisers`."
        )
    if not getattr(schedule, "models", ()):
        raise StepimpError(
            f"{schedule!r} is not a schedule of any model: give a Schedule, such as "
            "stepimp.schedules.schedule.parse makes of its notation."
        )
    if not isinstance(length, Integral):
        raise StepimpError(f"Length {length!r} is not a whole number of tokens.")
    for name in schedule.models:
        if name not in denoisers:
            raise StepimpError(
                f"The schedule names {name!r}; the models loaded are {', '.join(denoisers)}."
            )
    longest = min(denoisers[name].max_length for name in schedule.models)
    if not 1 <= length <= longest:
        raise StepimpError(
            f"Length {length} is outside 1..{longest}, the models' maximum: choose another one."
        )
    first = denoisers[schedule.models[0]]
    if prefix is not None:
        check_prefix(prefix, first.vocab_size)
    around = sum(map(len, first.frame))
    given = (0 if prefix is None else prefix.shape[-1]) + around
    masked = length - given
    if prefix is not None and given <= length:
        masked += int((prefix == first.mask_id).sum(-1).min())
    if masked < 1 or given > length:
        special = f" and there are {around} special tokens," if around else ""
        raise StepimpError(
            f"The prefix has {counted(given - around, 'token')},{special} the whole length of "
            f"{length}: shorten it or choose a larger length."
        )
    made_for = getattr(schedule, "length", None)
    most = int((template(length, prefix, first) == first.mask_id).sum(-1).max())
    if made_for is not None and most > made_for:
        raise StepimpError(
            f"There are {most} masked positions; the schedule is made for at most {made_for}."
        )


def template(length: int, prefix: torch.Tensor | None, denoiser: Denoiser) -> torch.Tensor:
    """What samples are given, with the mask token at the positions to draw: [L], or [N, L] where
    the prefix differs between samples.
    """
    return given_tokens(length, prefix, denoiser.frame, denoiser.mask_id)


def given_tokens(
    length: int, prefix: torch.Tensor | None, frame: Frame, mask_id: int
) -> torch.Tensor:
    """The frame's start, the prefix, mask tokens and the frame's end: [L] or [N, L]."""
    start, end = (torch.tensor(part, dtype=torch.long) for part in frame)
    if prefix is None:
        prefix = start[:0]
    tokens = torch.full((*prefix.shape[:-1], length), mask_id)
    tokens[..., : len(start)] = start
    tokens[..., len(start) : len(start) + prefix.shape[-1]] = prefix
    tokens[..., length - len(end) :] = end
    return tokens


def begin(
    indices,
    length: int,
    steps: int | None | Sequence[int],
    mask_id: int,
    seed: int,
    prefix: torch.Tensor | None = None,
    device="cpu",
    frame: Frame = NO_FRAME,
) -> State:
    """Samples before their first step.

    indices: N sample indices. steps: T of ancestral sampling; None for first-hitting sampling, in
    which step n unmasks one of n masked positions; or the sizes of a plan's groups, the first of
    which may be left out where fewer positions are masked. prefix: [P] tokens for all samples, or
    [N, P], of which mask tokens are drawn; frame: tokens that come before the prefix and at the
    end. All others are kept. Raises StepimpError for what is not a seed or not indices, for a T
    below 1, and for prefixes of another number of samples.
    """
    check_seed(plain(seed))
    indices = checked_indices(indices)
    given = given_tokens(length, prefix, frame, mask_id)
    if given.ndim == 2 and len(given) not in (1, len(indices)):
        raise StepimpError(
            f"There are prefixes of {len(given)} samples, and {len(indices)} indices."
        )
    if isinstance(steps, int) and steps < 1:
        raise StepimpError(f"T = {steps}: sampling needs at least 1 step.")
    z = given.expand(len(indices), length).clone()
    masked = (z == mask_id).numpy()
    uniforms = randomness.uniforms(seed, randomness.UNMASK_STEP, indices, length)
    if isinstance(steps, int):
        unmask_step = np.where(masked, 1 + (uniforms * steps).astype(np.int64), 0)
        times = np.arange(1, steps + 1) / steps
    else:
        unmask_step, times = one_by_one(uniforms, masked)
        if steps is not None:
            unmask_step, times = in_groups(unmask_step, steps)
    return State(indices, z.to(device), unmask_step, times.shape[-1], given.ndim == 1, times)


def checked_indices(indices) -> np.ndarray:
    """[N] sample indices as an array. Raises StepimpError for other things than whole numbers of at
    least 0.
    """
    array = np.asarray(indices)
    whole = array.dtype.kind in "iu" or not array.size
    if array.ndim != 1 or not whole or (array < 0).any():
        raise StepimpError(
            f"{shortened(indices)} are not sample indices: give a list or range of whole numbers "
            "of at least 0."
        )
    return array


def one_by_one(uniforms: np.ndarray, masked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First-hitting sampling: unmasking steps and times, [N, L] each; step n is the last but n.

    uniforms: [N, L], the largest unmasks first; masked: [N, L].
    """
    order = np.where(masked, uniforms, np.inf).argsort(axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(1, order.shape[1] + 1)[None], axis=1)
    times = np.take_along_axis(uniforms, order, axis=1)
    return np.where(masked, rank, 0), times


def in_groups(rank: np.ndarray, sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """A plan: unmasking steps [N, L] and times [N, groups], the share of the plan's positions that
    are masked when a group begins.

    rank: [N, L] positions left when each unmasks, itself included; 0 for given tokens. sizes: of
    the groups, the first to unmask first.
    """
    most = np.cumsum(sizes[::-1])  # positions masked when a step begins, the last step first
    step = np.where(rank > 0, 1 + np.searchsorted(most, rank), 0)
    begins = np.minimum(most, rank.max(axis=1, keepdims=True))
    return step, begins / most[-1]
