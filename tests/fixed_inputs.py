"""Inputs of a measurement whose tokens and uniforms are given."""

from dataclasses import dataclass

import torch
from fakes import FakeDenoiser

from stepimp.curves import measure
from stepimp.noise import NoiseSchedule

LINEAR = NoiseSchedule("linear")
LENGTH, TIMES = 6, (0.1, 0.5, 1.0)


@dataclass
class FixedInputs:
    """tokens: [N, L]; uniforms: [repeats, N, L]."""

    tokens: torch.Tensor
    uniforms: torch.Tensor
    noise = LINEAR

    def __len__(self):
        return len(self.tokens)

    @property
    def length(self):
        return self.tokens.shape[1]

    @property
    def repeats(self):
        return len(self.uniforms)

    def draw(self, start, stop, repeat):
        return self.tokens[start:stop], self.uniforms[repeat, start:stop]


def some_inputs(vocab, n=20, repeats=1, seed=0, length=LENGTH):
    draw = torch.Generator().manual_seed(seed)
    uniforms = torch.rand(repeats, n, length, generator=draw, dtype=torch.float64)
    return FixedInputs(torch.randint(0, vocab, (n, length), generator=draw), uniforms)


def measure_three(three, inputs, times=TIMES, **options):
    return measure.measure(three, "heavy", ("light",), "seed2", inputs, times, 0, **options)


class Fake(FakeDenoiser):
    """A fake whose rows a projection can take: only `logits` excludes the mask token."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.table[..., self.mask_id] = 0.0

    def logits(self, rows):
        return rows.index_fill(-1, torch.tensor(self.mask_id), -torch.inf)
