"""Batches of the samples that wait for the same model, whatever event each of them is at."""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch

from stepimp.errors import StepimpError
from stepimp.models.denoiser import Denoiser, checked_rows


class Runner(Protocol):
    """The events that samples still have, and the running of one batch of them."""

    def enter(self, row: int) -> None:
        """Prepares a sample that has not run yet."""

    def left(self, row: int) -> int:
        """How far a sample is from its end, in events; 0 when it is finished."""

    def model(self, row: int) -> str:
        """The model that a sample waits for."""

    def sequences(self, name: str) -> int:
        """The most sequences that a model runs for one sample at once."""

    def run(self, name: str, batch: list[int]) -> None:
        """Runs the model once for each sample of the batch, which all wait for it."""


def in_batches(runner: Runner, samples: int, models: int, batch_size: int) -> Iterator[int]:
    """Runs samples 0..samples-1 to their end; yields each when it has reached it.

    models: number of models that a sample may wait for; batch_size: sequences per forward pass.
    Raises StepimpError for batches of no sequence.
    """
    if batch_size < 1:
        raise StepimpError(f"Batches of {batch_size} sequences: choose at least 1.")
    waiting: list[int] = []
    entering = iter(range(samples))
    while True:
        # With two batches of samples in flight per model, those that wait for one can fill a batch.
        while len(waiting) < 2 * batch_size * models and (row := next(entering, None)) is not None:
            runner.enter(row)
            if runner.left(row):
                waiting.append(row)
            else:
                yield row
        if not waiting:
            return
        groups: dict[str, list[int]] = {}
        for row in waiting:
            groups.setdefault(runner.model(row), []).append(row)
        fits = {name: max(1, batch_size // runner.sequences(name)) for name in groups}
        # A model with a full batch; else the one that the samples farthest behind wait for.
        model = max(
            groups,
            key=lambda name: (len(groups[name]) >= fits[name], max(map(runner.left, groups[name]))),
        )
        # Samples with most events left go first: all end together, and batches stay full.
        batch = sorted(groups[model], key=runner.left, reverse=True)[: fits[model]]
        runner.run(model, batch)
        for row in batch:
            if not runner.left(row):
                waiting.remove(row)
                yield row


def body_of(denoiser: Denoiser) -> Callable[..., torch.Tensor]:
    """A model's `hidden(z, t, at)`, in the form for many small batches where it has one."""
    return getattr(denoiser, "replayed", None) or denoiser.hidden


def rows_at(denoiser: Denoiser, z, times, at) -> torch.Tensor:
    """[B, n, D] hidden rows at positions `at` [B, n] of z [B, L]. times: [B], as `bits`. Raises
    StepimpError for a model that gives other rows.
    """
    return checked_rows(denoiser, body_of(denoiser)(z, times.view(torch.float64), at), at)


def uploaded(device, *integers) -> list[torch.Tensor]:
    """Integer arrays as tensors on the device, by one copy that does not wait for the device."""
    arrays = [np.asarray(each, dtype=np.int64) for each in integers]
    flat = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
    parts = flat.to(device, non_blocking=True).split([array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays)]


def bits(numbers) -> np.ndarray:
    """float64 numbers as the integers of the same bits, for `uploaded`; read by view(float64)."""
    return np.asarray(numbers, dtype=np.float64).view(np.int64)
