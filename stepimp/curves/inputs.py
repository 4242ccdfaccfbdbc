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
from stepimp.curves.options import MOST_SAMPLES, CompleteOptions
from stepimp.errors import StepimpError
from stepimp.models.denoiser import Denoiser
from stepimp.noise import NEVER_MASKED, NoiseSchedule
from stepimp.text.blocks import load_blocks


class Inputs(Protocol):
    """Sequences to corrupt."""

    @property
    def noise(self) -> NoiseSchedule: ...

    @property
    def repeats(self) -> int:
        """Corruptions of each sequence."""

    @property
    def length(self) -> int:
        """Tokens per sequence, L."""

    def __len__(self) -> int: ...

    def draw(self, start: int, stop: int, repeat: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and uniforms of the sequences start to stop - 1, [stop - start, L] each."""


@dataclass(frozen=True)
class TextInputs:
    """Text under fresh corruptions, `repeats` of each sequence.

    tokens: [N, L] int64 ids, of which those in `special_ids` are never masked; noise: that of the
    models.
    """

    tokens: torch.Tensor
    seed: int
    noise: NoiseSchedule
    repeats: int = 1
    special_ids: frozenset[int] = frozenset()

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
        tokens, drawn = self.tokens[start:stop], torch.from_numpy(np.stack(uniforms))
        special = torch.tensor(sorted(self.special_ids), dtype=tokens.dtype)
        return tokens, drawn.masked_fill_(torch.isin(tokens, special), NEVER_MASKED)


def framed(tokens: torch.Tensor, frame: tuple[tuple[int, ...], tuple[int, ...]]) -> torch.Tensor:
    """tokens: [N, L] -> [N, L + what the frame has], each sequence between its two parts."""
    start, end = (torch.tensor(part, dtype=tokens.dtype).expand(len(tokens), -1) for part in frame)
    return torch.cat((start, tokens, end), 1)


def text_inputs(options: CompleteOptions, tokenizer, model: Denoiser) -> tuple[TextInputs, str]:
    """Sequences of the text in a random order, and a fingerprint of the text.

    As many as `options.sequences`, or as the text has; where `options.until` decides, all of them,
    or of a large text at least MOST_SAMPLES. Those of a large text come from its beginning.
    Each is framed by the special tokens that the model expects around a sequence, if any. Raises
    StepimpError where these leave no room for text.
    """
    inside = options.length - sum(map(len, model.frame))
    if inside < 1:
        raise StepimpError(
            f"A length of {options.length} has room for special tokens only: choose a larger one."
        )
    # Even a few sequences need the tokens of the whole text once, unless it is large: their order
    # is a permutation of all blocks. Which documents are held out depends on their number, and the
    # fingerprint on all of them.
    needed = options.sequences if options.until is None else MOST_SAMPLES
    blocks = load_blocks(options.data, tokenizer, inside, options.split, options.column, needed)
    draw = randomness.generator(options.seed, randomness.DATA)
    order = draw.permutation(len(blocks.tokens))
    if options.until is None:
        order = order[: options.sequences]
    tokens = framed(blocks.tokens[torch.as_tensor(order)].long(), model.frame)
    inputs = TextInputs(tokens, options.seed, model.noise, options.repeats, model.special_ids)
    return inputs, blocks.fingerprint
