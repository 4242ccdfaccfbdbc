"""Corrupted text, the inputs of a measurement.

Inputs give clean tokens and one uniform per position, below whose threshold the position is masked
(`noise.corrupt`). They are drawn when they are asked for, each a function of (seed, index of the
sequence) alone. `stepimp.sampling.trajectories` has the same interface over the heavy model's own
samples.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from stepimp import randomness
from stepimp.curves.options import CurveOptions
from stepimp.noise import NoiseSchedule
from stepimp.text.blocks import load_blocks


class Inputs(Protocol):
    """Sequences to corrupt."""

    noise: NoiseSchedule
    repeats: int
    """Corruptions of each sequence."""
    length: int
    """Tokens per sequence, L."""

    def __len__(self) -> int: ...

    def draw(self, start: int, stop: int, repeat: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and uniforms of the sequences start to stop - 1, [stop - start, L] each."""


@dataclass(frozen=True)
class TextInputs:
    """Text under fresh corruptions, `repeats` of each sequence. tokens: [N, L]."""

    tokens: torch.Tensor
    seed: int
    noise: NoiseSchedule
    repeats: int = 1

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def length(self) -> int:
        return self.tokens.shape[1]

    def draw(self, start: int, stop: int, repeat: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and uniforms, [stop - start, L] each."""
        uniforms = [
            randomness.generator(self.seed, randomness.CORRUPTION, index, repeat).random(
                self.length
            )
            for index in range(start, stop)
        ]
        return self.tokens[start:stop], torch.from_numpy(np.stack(uniforms))


def text_inputs(options: CurveOptions, tokenizer, noise: NoiseSchedule) -> tuple[TextInputs, str]:
    """Sequences of the text in a random order, and a fingerprint of the text.

    As many as `options.sequences`, or as the text has; all of them where `options.until` decides.
    """
    blocks = load_blocks(options.data, tokenizer, options.length, options.split)
    draw = randomness.generator(options.seed, randomness.DATA)
    order = draw.permutation(len(blocks.tokens))
    if options.until is None:
        order = order[: options.sequences]
    tokens = blocks.tokens[torch.as_tensor(order)]
    return TextInputs(tokens, options.seed, noise, options.repeats), blocks.fingerprint
