"""The entropy cascade: the light model runs, and the heavy one where the light one is unsure.

Which model draws depends on the state and the positions alone, so that the tokens still come from a
denoiser's p at positions that were chosen without the logits: a proper chain, whose NELBO and path
KL are measured on held-out corruptions (`stepimp.sampling.cascade_prediction`).
"""

from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch

from stepimp.errors import StepimpError
from stepimp.kernels.statistics import vocabulary_statistics
from stepimp.models.denoiser import Denoiser
from stepimp.sampling.sampler import EventRunner
from stepimp.schedules.schedule import Schedule


@dataclass(frozen=True)
class Cascade:
    """The heavy model draws an event where the mean entropy of the light model's p at its positions
    is above the threshold, in nats; else the light model does.
    """

    heavy: str
    light: str
    threshold: float

    def __post_init__(self):
        if not isinstance(self.threshold, Real):
            raise StepimpError(f"The threshold {self.threshold!r} of a cascade is not a number.")
        if self.heavy == self.light:
            raise StepimpError("A cascade needs two different models.")

    @property
    def models(self) -> tuple[str, ...]:
        """The models it uses, the one that always runs first."""
        return self.light, self.heavy


class CascadeRunner(EventRunner):
    """`EventRunner` whose events run the light model and then, if it is unsure, the heavy one."""

    def __init__(self, state, denoisers, cascade: Cascade, seed, counts=None, **options):
        light = Schedule.of([cascade.light] * state.clock)
        super().__init__(state, denoisers, light, seed, counts, **options)
        self.cascade = cascade
        self.escalated: set[int] = set()  # rows whose next event waits for the heavy model

    def model(self, row: int) -> str:
        """The model that a sample waits for."""
        return self.cascade.heavy if row in self.escalated else self.cascade.light

    def enter(self, row: int):
        """Runs the first event of a fresh sample, with both models if need be."""
        super().enter(row)
        if row in self.escalated:
            super().enter(row)

    def finish_events(self, name: str, hidden, batch: list[int], positions: list[np.ndarray]):
        """Unmasks the events of which the light model is sure, and those of the heavy model."""
        if name == self.cascade.heavy:
            self.escalated.difference_update(batch)
            return super().finish_events(name, hidden, batch, positions)
        sizes = [len(p) for p in positions]
        with self.timed("projection"):
            entropies = mean_entropies(self.denoisers[name], hidden, sizes)
        self.counts.projected[name] += sum(sizes)
        unsure = entropies > self.cascade.threshold
        self.escalated.update(row for row, waits in zip(batch, unsure) if waits)
        if unsure.all():
            return None
        sure = np.flatnonzero(~unsure).tolist()
        rows = torch.from_numpy(~unsure.repeat(sizes)).to(hidden.device)
        return super().finish_events(
            name, hidden[rows], [batch[i] for i in sure], [positions[i] for i in sure]
        )


def mean_entropies(denoiser: Denoiser, hidden: torch.Tensor, sizes: list[int]) -> np.ndarray:
    """[B] mean entropy in nats of p at the positions of each event.

    hidden: [n, D] at the positions of all events; sizes: the number of positions of each.
    """
    targets = torch.zeros(len(hidden), dtype=torch.long, device=hidden.device)
    _, _, entropy = vocabulary_statistics([hidden], [denoiser.head()], targets, denoiser.mask_id)
    starts = np.cumsum([0, *sizes[:-1]])
    return np.add.reduceat(entropy.cpu().numpy(), starts) / sizes
