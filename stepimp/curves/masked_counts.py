"""Curves over n, the exact number of masked positions, instead of over t.

At t = n/P, of P positions that can be masked, exactly the n positions with the smallest uniforms
are masked: a uniformly random set of n, which only grows with n. Everything else is measured as
over t.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from stepimp.curves.inputs import Inputs
from stepimp.curves.measurements import Measurements
from stepimp.noise import NEVER_MASKED, NoiseSchedule


@dataclass(frozen=True)
class RankedInputs:
    """Other inputs with the rank of each uniform in its place, so that t = n/P masks exactly n
    positions.

    With samples of the heavy model the positions that unmask in one of its 1000 steps are ordered
    too.
    """

    inputs: Inputs
    maskable: int
    """P, positions of a sequence that can be masked."""
    noise = NoiseSchedule("linear")

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def repeats(self) -> int:
        return self.inputs.repeats

    @property
    def length(self) -> int:
        return self.inputs.length

    def draw(self, start: int, stop: int, repeat: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens, and (rank + 1/2) / P of each position, [stop - start, L] each."""
        tokens, uniforms = self.inputs.draw(start, stop, repeat)
        ranks = uniforms.argsort(1).argsort(1)
        never = uniforms >= NEVER_MASKED
        return tokens, ((ranks + 0.5) / self.maskable).masked_fill(never, NEVER_MASKED)

    def counts(self, points: int) -> np.ndarray:
        """At most `points` different n, from 1 to P at equal distances."""
        return np.unique(np.rint(np.linspace(self.maskable, 1, points)).astype(int))

    def exact(self, measurements: Measurements) -> Measurements:
        """What was measured at times n/P as curves over n.

        A sequence with special tokens inside has fewer than P positions to mask: where it has fewer
        than n it is left out.
        """
        counts = np.rint(measurements.times * self.maskable)
        kept = measurements.masked == counts[:, None, None]
        return replace(
            measurements,
            masked=measurements.masked * kept,
            ce={model: sums * kept for model, sums in measurements.ce.items()},
            kl={model: sums * kept for model, sums in measurements.kl.items()},
            entropy=measurements.entropy * kept,
            maskable=self.maskable,
        )
