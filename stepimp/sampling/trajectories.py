"""Corrupted inputs from the heavy model's own sampling trajectories."""

from dataclasses import dataclass

import torch

from stepimp import randomness
from stepimp.models.denoiser import Denoiser
from stepimp.noise import NEVER_MASKED, NoiseSchedule
from stepimp.sampling.sampler import sample
from stepimp.schedules.schedule import Schedule


@dataclass(frozen=True)
class SampleInputs:
    """The states that the heavy model passes through when it samples in `steps` steps. For them
    formula (9) is exact.

    A position unmasks at step 1 + floor(u * steps), so the uniforms u that chose the unmasking
    steps also say which positions of the finished sample are still masked at t = i/steps: those
    with u < t.
    """

    denoisers: dict[str, Denoiser]
    heavy: str
    """Name of the model that samples."""
    count: int
    """Number of samples."""
    length: int
    """Tokens per sample."""
    seed: int
    steps: int = 1000
    """T."""
    noise = NoiseSchedule("linear")
    repeats = 1  # another order of unmasking would not be the sample's trajectory

    def __len__(self) -> int:
        return self.count

    def draw(self, start: int, stop: int, repeat: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and uniforms, [stop - start, L] each."""
        indices, schedule = range(start, stop), Schedule.of([self.heavy] * self.steps)
        tokens = sample(self.denoisers, schedule, indices, self.length, seed=self.seed)
        uniforms = randomness.uniforms(self.seed, randomness.UNMASK_STEP, indices, self.length)
        start, end = map(len, self.denoisers[self.heavy].frame)
        uniforms[:, :start] = uniforms[:, self.length - end :] = NEVER_MASKED
        return tokens, torch.from_numpy(uniforms)
