"""What sampling costs: seconds by part and FLOPs."""

import time
from collections import defaultdict
from contextlib import contextmanager

import torch

from stepimp.sampling import sampler


class Stopwatch:
    """Seconds by part: `with watch(part): ...`, waiting for the device at both ends."""

    def __init__(self, device: torch.device):
        self.device, self.seconds = device, defaultdict[str, float](float)

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @contextmanager
    def __call__(self, part: str):
        start = self.now()
        yield
        self.seconds[part] += self.now() - start


def exact_flops(denoisers: dict, counts: sampler.Counts, length: int) -> float:
    """FLOPs of a run: blocks, attention and projection, each where it ran."""
    total = 0.0
    for name, denoiser in denoisers.items():
        per_forward, per_row = denoiser.flops(length)
        total += counts.forwards[name] * per_forward + counts.tokens[name] * per_row
    return total
