"""Exact draws from logits, with noise that depends on (seed, sample, position) alone."""

import numpy as np
import torch

from stepimp import randomness


def exponentials(seed: int, sample: int, position: int, vocab_size: int) -> np.ndarray:
    """[V] standard exponentials in float64.

    From -log(1 - u) with u on a grid of 2^-53 and half a step in place of 0: the smallest is 2^-54, so that a token of
    any probability down to 1e-16 can win and none has infinite noise.
    """
    u = randomness.generator(seed, randomness.TOKEN, sample, position).random(vocab_size)
    return -np.log1p(-np.maximum(u, 2.0**-54))


def draw_tokens(logits: torch.Tensor, seed: int, samples, positions) -> torch.Tensor:
    """One token per row by Gumbel-max: argmax over v of logits_v - log E_v, in float64.

    logits: [n, V]; samples, positions: n integers each, which name the row's random numbers. Two models that see the
    same noise agree as often as their distributions allow them to within Gumbel coupling. Returns [n] token ids.
    """
    tokens = torch.empty(len(logits), dtype=torch.long)
    for row, (sample, position) in enumerate(zip(samples, positions)):
        noise = torch.from_numpy(exponentials(seed, int(sample), int(position), logits.shape[-1])).log_()
        tokens[row] = (logits[row].double() - noise.to(logits.device)).argmax()
    return tokens.to(logits.device)
