"""Where the corrupted inputs come from: held-out text, or the heavy model's own trajectories.

Both give clean tokens and one uniform per position, below whose threshold the position is masked
(`noise.corrupt`), drawn when they are asked for, each a function of (seed, index of the sequence)
alone."""

from dataclasses import dataclass

import numpy as np
import torch

from stepimp import randomness
from stepimp.noise import NEVER_MASKED, NoiseSchedule


@dataclass(frozen=True)
class TextInputs:
    """Text under fresh corruptions, `repeats` of each sequence.

    tokens: [N, L], of which those in `special_ids` are never masked.
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
        rows = [
            randomness.generator(self.seed, randomness.CORRUPTION, index, repeat).random(
                self.length
            )
            for index in range(start, stop)
        ]
        tokens, uniforms = self.tokens[start:stop], torch.from_numpy(np.stack(rows))
        special = torch.tensor(sorted(self.special_ids), dtype=tokens.dtype)
        return tokens, uniforms.masked_fill_(torch.isin(tokens, special), NEVER_MASKED)


def framed(tokens: torch.Tensor, frame: tuple[tuple[int, ...], tuple[int, ...]]) -> torch.Tensor:
    """tokens: [N, L] -> [N, L + what the frame has], each sequence between its two parts."""
    start, end = (torch.tensor(part, dtype=tokens.dtype).expand(len(tokens), -1) for part in frame)
    return torch.cat((start, tokens, end), 1)
