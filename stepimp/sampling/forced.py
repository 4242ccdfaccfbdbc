"""A policy's NELBO measured on text: it runs its own events, but each unmasked position takes the
text's token, whose -log p is summed.

Independent of what predicts the NELBO: the events, models and states are those of the sampler.
"""

from dataclasses import replace
from typing import assert_never

import numpy as np
import torch

from stepimp.errors import StepimpError
from stepimp.kernels.statistics import vocabulary_statistics
from stepimp.models.denoiser import Denoiser
from stepimp.sampling.batching import in_batches, uploaded
from stepimp.sampling.cascade import Cascade, CascadeRunner
from stepimp.sampling.drafting import Draft
from stepimp.sampling.policies import Policy
from stepimp.sampling.sampler import EventRunner
from stepimp.sampling.state import Counts
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.schedule import Schedule


class _Forced(EventRunner):
    """Events that reveal the tokens of a text instead of drawing them."""

    text: torch.Tensor
    """[N, L] tokens."""
    losses: np.ndarray
    """[N] nats so far."""

    def unmask(self, name, hidden, rows, positions):
        """Writes the text's tokens at n positions, and adds up their -log p."""
        state, denoiser = self.state, self.denoisers[name]
        where = uploaded(state.z.device, rows, positions)
        tokens = self.text[*where]
        ce, _, _ = vocabulary_statistics([hidden], [denoiser.head()], tokens, denoiser.mask_id)
        np.add.at(self.losses, rows, ce[0].double().cpu().numpy())
        state.z[*where] = tokens
        self.counts.drawn(name, len(positions))


class _ForcedCascade(_Forced, CascadeRunner):
    """Events of a cascade that reveal the tokens of a text."""


@torch.no_grad()
def forced_losses(
    denoisers: dict[str, Denoiser],
    policy: Policy,
    text: torch.Tensor,
    *,
    seed: int,
    first: int = 0,
    batch_size: int = 16,
    counts: Counts | None = None,
) -> np.ndarray:
    """[N] -log p in nats of the tokens that a policy reveals of each sequence, under one order of
    its events: an unbiased estimate of its NELBO.

    text: [N, L]; first: index of its first sequence, which names the random numbers: policies share
    them. counts: updated with what it cost. Raises StepimpError for a policy of another law.
    """
    if not policy.exact:
        raise StepimpError("A policy of another law has no NELBO.")
    rule = policy.schedule
    if isinstance(rule, Draft):  # its law is that of the heavy model
        rule = Schedule.of([rule.heavy] * (policy.steps or 1))
        policy = replace(policy, schedule=rule)
    state = policy.begin(denoisers, range(first, first + len(text)), text.shape[1], seed)
    runner: _Forced
    match rule:
        case Cascade():
            runner = _ForcedCascade(state, denoisers, rule, seed, counts)
        case Schedule() | MaskedSchedule() | Plan():
            runner = _Forced(state, denoisers, rule, seed, counts)
        case _:
            assert_never(rule)
    runner.text, runner.losses = text.to(state.z.device), np.zeros(len(text))
    for _ in in_batches(runner, len(text), len(policy.schedule.models), batch_size):
        pass
    return runner.losses
