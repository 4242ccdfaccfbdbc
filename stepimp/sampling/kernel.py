"""The distribution that tokens are drawn from: the denoiser's own, or sharpened.

Temperature and nucleus sampling change it, so that NELBO and path KL say nothing about the text.
"""

from dataclasses import dataclass

import numpy as np
import torch

from stepimp.errors import StepimpError
from stepimp.kernels.draw import ROW_BLOCK, draw_tokens, project_and_draw, projected
from stepimp.models.denoiser import Denoiser
from stepimp.models.options import check_fields


@dataclass(frozen=True)
class Kernel:
    """p(token)^(1/temperature), renormalised, then cut to the likeliest tokens that together have
    at least the probability top_p, and renormalised again. Temperature 0 takes the likeliest token.
    """

    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self):
        check_fields(self)
        if not 0 <= self.temperature < np.inf or not 0 < self.top_p <= 1:
            raise StepimpError(
                f"A temperature of {self.temperature:g} and a nucleus of {self.top_p:g}: the "
                "temperature is at least 0, the nucleus above 0 and at most 1."
            )

    @property
    def exact(self) -> bool:
        """Whether it is the denoiser's own distribution."""
        return self == Kernel()

    def log_p(self, logits: torch.Tensor) -> torch.Tensor:
        """[n, V] log-probabilities in float64 of logits [n, V]."""
        logits = logits.double()
        if self.temperature == 0:
            likeliest = logits.argmax(-1, keepdim=True)
            return torch.full_like(logits, -torch.inf).scatter_(-1, likeliest, 0.0)
        log_p = (logits / self.temperature).log_softmax(-1)
        if self.top_p < 1:
            p, order = log_p.exp().sort(dim=-1, descending=True, stable=True)
            beyond = p.cumsum(-1) - p >= self.top_p  # the tokens before it have enough
            cut = torch.zeros_like(beyond).scatter_(-1, order, beyond)
            log_p = log_p.masked_fill(cut, -torch.inf).log_softmax(-1)
        return log_p

    def draw(
        self, denoiser: Denoiser, hidden: torch.Tensor, seed: int, samples, positions, timed
    ) -> torch.Tensor:
        """One token per row of hidden [n, D], as `project_and_draw` draws them: [n]."""
        head, mask_id = denoiser.head(), denoiser.mask_id
        if self.exact:
            return project_and_draw(hidden, head, mask_id, seed, samples, positions, timed=timed)
        tokens = [hidden.new_empty(0, dtype=torch.long)]
        for start in range(0, len(hidden), ROW_BLOCK):
            block = slice(start, start + ROW_BLOCK)
            with timed("projection"):
                log_p = self.log_p(projected(hidden[block], head, mask_id))
            with timed("draw"):
                tokens.append(draw_tokens(log_p, seed, samples[block], positions[block]))
        return torch.cat(tokens)
