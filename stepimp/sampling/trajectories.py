"""Corrupted inputs from the heavy model's own sampling trajectories."""

from dataclasses import dataclass

import torch

from stepimp import randomness
from stepimp.noise import NoiseSchedule
from stepimp.sampling.sampler import sample
from stepimp.schedules.schedule import Schedule


@dataclass(frozen=True)
class SampleInputs:
    """The states that the heavy model passes through when it samples in `steps` steps: under them
    (9) is exact.

    A position unmasks at step 1 + floor(u * steps), so the uniforms that chose the unmasking steps
    also say which positions of the finished sample are still masked at t = i/steps: those with u <
    t."""

    denoisers: dict
    heavy: str
    count: int
    length: int
    seed: int
    steps: int = 1000
    noise = NoiseSchedule("linear")
    repeats = 1  # a sample has one order of unmasking; another one would not be its trajectory

    def __len__(self) -> int:
        return self.count

    def draw(self, start: int, stop: int, repeat: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and uniforms, [stop - start, L] each."""
        indices, schedule = range(start, stop), Schedule.of([self.heavy] * self.steps)
        tokens = sample(self.denoisers, schedule, indices, self.length, seed=self.seed)
        return tokens, torch.from_numpy(
            randomness.uniforms(self.seed, randomness.UNMASK_STEP, indices, self.length)
        )
