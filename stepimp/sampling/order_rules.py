"""The rule of each order of `orders.Order`. To add an order is to add an entry to ORDERS."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

ROUNDING = 1e-12  # of a sum of entropies
LOOP_ON, LOOP_OFF, LOOP_ALPHA = 0.55, 0.05, 0.9  # the paper's: between them alpha stays the same


@dataclass(frozen=True)
class Ranking:
    """Unmasks the positions with the largest scores, as many as the step reveals."""

    score: Callable[[torch.Tensor], torch.Tensor]
    """Log-probabilities [n, V], minus infinity at the mask token -> the scores [n] of these
    positions."""
    level: ClassVar[float | None] = None


@dataclass(frozen=True)
class Adaptive:
    """Unmasks the positions with the largest scores, as many as the scores decide."""

    score: Callable[[torch.Tensor], torch.Tensor]
    """As that of `Ranking`."""
    count: Callable[[torch.Tensor, float], int]
    """The scores [n], sorted from the largest, and the level -> number of positions."""
    level: float
    """The level where none is given."""
    highest_level: float = 1.0


def linear(t: float) -> float:
    """Probability that a position is unmasked at time t."""
    return 1 - t


@dataclass(frozen=True)
class Remasking:
    """Masks tokens again: ReMDM (arXiv 2503.00307), see `stepimp.sampling.remasking`."""

    sigma: Callable[[float, float, float, np.ndarray], float | np.ndarray]
    """Level, largest possible sigma, time t, and with which probability each token was drawn [L],
    NaN at masked positions -> sigma, one for all positions or [L].
    """
    level: float
    """The level where none is given."""
    alpha: Callable[[float], float] = linear
    """Time t -> probability that a position is unmasked."""
    highest_level: ClassVar[float] = 1.0


def largest(log_p: torch.Tensor) -> torch.Tensor:
    """The probability of the likeliest token."""
    return log_p.exp().amax(-1)


def margin(log_p: torch.Tensor) -> torch.Tensor:
    """The difference of the two largest probabilities."""
    first, second = log_p.exp().topk(2).values.unbind(-1)
    return first - second


def negative_entropy(log_p: torch.Tensor) -> torch.Tensor:
    """The entropy in nats, times -1."""
    return (log_p.exp() * log_p).nan_to_num().sum(-1)


def above(scores: torch.Tensor, level: float) -> int:
    """All whose score is above the level, at least one (Fast-dLLM, arXiv 2505.22618)."""
    return max(1, int((scores > level).sum()))


def within(scores: torch.Tensor, level: float) -> int:
    """The most whose entropies sum to at most `level` nats more than the largest of them (EB,
    arXiv 2505.24857).
    """
    entropies = -scores
    return int((entropies.cumsum(0) - entropies <= level + ROUNDING).sum())


def capped(level: float, largest: float, t: float, drawn_with: np.ndarray) -> float:
    """Sigma is the level where it can be."""
    return min(level, largest)


def rescaled(level: float, largest: float, t: float, drawn_with: np.ndarray) -> float:
    """Sigma is this share of the largest one."""
    return level * largest


def by_confidence(level: float, largest: float, t: float, drawn_with: np.ndarray) -> np.ndarray:
    """That share, divided among the tokens by the softmax of minus their probabilities."""
    weight = np.nan_to_num(np.exp(-drawn_with))
    return level * largest * weight / max(weight.sum(), np.finfo(float).tiny)


def in_loop(level: float, largest: float, t: float, drawn_with: np.ndarray) -> float:
    """`capped` in the loop, and 0 outside."""
    return min(level, largest) if LOOP_OFF < t <= LOOP_ON else 0.0


def looped(t: float) -> float:
    """Probability that a position is unmasked at time t, which stays the same in the loop."""
    if t > LOOP_ON:
        return (1 - t) * LOOP_ALPHA / (1 - LOOP_ON)
    return LOOP_ALPHA if t > LOOP_OFF else 1 - t * (1 - LOOP_ALPHA) / LOOP_OFF


Rule = Ranking | Adaptive | Remasking
ORDERS: dict[str, Rule] = {
    "confidence": Ranking(largest),
    "margin": Ranking(margin),
    "entropy": Ranking(negative_entropy),
    "threshold": Adaptive(largest, above, level=0.9),
    "eb": Adaptive(negative_entropy, within, level=0.1, highest_level=np.inf),
    "remdm-cap": Remasking(capped, level=0.02),
    "remdm-rescale": Remasking(rescaled, level=0.05),
    "remdm-conf": Remasking(by_confidence, level=1.0),
    "remdm-loop": Remasking(in_loop, level=0.02, alpha=looped),
}
