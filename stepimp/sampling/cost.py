"""What sampling costs: seconds by part, FLOPs and forward passes."""

import time
from collections import defaultdict
from contextlib import contextmanager

import torch

from stepimp.models.denoiser import Denoiser
from stepimp.sampling import sampler


class Stopwatch:
    """Seconds by part: `with watch(part): ...` waits for the device before and after."""

    def __init__(self, device: torch.device):
        self.device, self.seconds = device, defaultdict[str, float](float)

    def now(self) -> float:
        """Seconds on a clock of arbitrary origin, when all work on the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @contextmanager
    def __call__(self, part: str):
        start = self.now()
        yield
        self.seconds[part] += self.now() - start


def exact_flops(denoisers: dict[str, Denoiser], counts: sampler.Counts, length: int) -> float:
    """FLOPs of a run: blocks, attention and vocabulary projection as often as they ran.

    length: tokens per sequence.
    """
    total = 0.0
    for name, denoiser in denoisers.items():
        per_forward, per_row = denoiser.flops(length)
        total += counts.forwards[name] * per_forward + counts.projected[name] * per_row
    return total
