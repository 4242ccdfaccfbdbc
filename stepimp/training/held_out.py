"""What a trained model is measured on, and how several processes share that."""

from collections.abc import Callable

import torch

from stepimp.processes import Processes
from stepimp.progress import Progress, no_progress

MOST_TOKENS = 1 << 22  # the NELBO is within 0.015 nats (95%, 256 tokens per sequence)
SNAPSHOT_SEQUENCES = 256  # at least, that a snapshot is evaluated on


def finished_part(held_out: torch.Tensor) -> torch.Tensor:
    """The sequences of held-out text [N, L] that a finished model is measured on: all of them up to
    MOST_TOKENS tokens, else as many, evenly spread.
    """
    total, length = held_out.shape
    count = max(1, MOST_TOKENS // length)
    return held_out if total <= count else held_out[torch.arange(count) * total // count]


def snapshot_part(held_out: torch.Tensor) -> torch.Tensor:
    """The part of the held-out [N, L] sequences that snapshots are evaluated on."""
    return held_out[:: max(1, len(held_out) // SNAPSHOT_SEQUENCES)]


def mean_loss(
    loss: Callable[[torch.Tensor], float],
    sequences: int,
    batch_size: int,
    processes: Processes | None = None,
    progress: Progress = no_progress,
) -> float:
    """Mean over sequences, batch by batch.

    loss: from the numbers of a batch's sequences [B] to their mean. processes: share the batches,
    and all of them must call this; None: this one measures all. The mean does not depend on their
    number.
    """
    batches = torch.arange(sequences).split(batch_size)
    numbers = range(len(batches))
    if processes:
        numbers = numbers[processes.rank :: processes.count]
    means: dict[int, float] = {}
    progress(0, sequences)
    for number in numbers:
        means[number] = loss(batches[number])
        progress(sequences * len(means) // len(numbers), sequences)
    if processes:
        means = processes.gather(means)
    return sum(means[number] * len(batch) for number, batch in enumerate(batches)) / sequences
