"""Draft and verify: the light model draws several events in turn, the heavy one checks them.

The heavy model scores the state before each drafted event in one batch. A drafted token is accepted
with probability min(1, p_H / p_L), else replaced by a draw from (p_H - p_L)+, and the events after
a replaced token are dropped (Leviathan, Kalman, Matias 2023, arXiv 2211.17192). The law is exactly
that of the heavy model alone. It saves heavy calls in sequence, not FLOPs.

What a position draws is a function of its state and of noise of its own (draft, acceptance,
replacement), and no decision looks at drafts behind a replaced token: a position that is drafted
again uses the same noise, and tokens do not depend on how many events are drafted at once.
"""

from dataclasses import dataclass

import numpy as np
import torch

from stepimp import randomness
from stepimp.checks import Count
from stepimp.errors import StepimpError
from stepimp.kernels.draw import draw_tokens, projected
from stepimp.models.options import check_fields
from stepimp.sampling.batching import bits, uploaded
from stepimp.sampling.sampler import EventRunner, padded
from stepimp.schedules.schedule import Schedule


@dataclass(frozen=True)
class Draft:
    """The light model drafts up to this many events, then the heavy model verifies them."""

    heavy: str
    light: str
    events: Count = 4

    def __post_init__(self):
        check_fields(self)
        if self.heavy == self.light:
            raise StepimpError("Drafting needs two different models.")

    @property
    def models(self) -> tuple[str, ...]:
        """The models it uses, the one that runs first first."""
        return self.light, self.heavy


@dataclass
class Drafted:
    """An event that the light model has drawn and the heavy one has not seen."""

    step: int
    positions: np.ndarray
    log_p: torch.Tensor
    """[positions, V] of the light model."""
    tokens: torch.Tensor
    """[positions] drawn from it."""


class DraftRunner(EventRunner):
    """`EventRunner` whose events are drafted by the light model and verified by the heavy one."""

    def __init__(self, state, denoisers, draft: Draft, seed, counts=None, **options):
        light = Schedule.of([draft.light] * state.clock)
        super().__init__(state, denoisers, light, seed, counts, **options)
        self.draft = draft
        self.drafted: list[list[Drafted]] = [[] for _ in self.events]

    def model(self, row: int) -> str:
        """The model that a sample waits for: the heavy one when enough is drafted."""
        enough = min(self.draft.events, len(self.events[row]))
        return self.draft.heavy if len(self.drafted[row]) == enough else self.draft.light

    def sequences(self, name: str) -> int:
        """The most sequences that a model runs for one sample at once."""
        return self.draft.events if name == self.draft.heavy else 1

    def next_step(self, row: int) -> int:
        """The step of the next event to draft."""
        return self.events[row][-1 - len(self.drafted[row])]

    def finish_events(self, name: str, hidden, batch: list[int], positions: list[np.ndarray]):
        """Keeps the events that the light model has drafted, and continues from their tokens."""
        log_p = self.log_p(name, hidden)
        rows, places = np.repeat(batch, [len(p) for p in positions]), np.concatenate(positions)
        with self.timed("draw"):
            tokens = draw_tokens(log_p, self.seed, self.state.indices[rows], places)
        self.write(rows, places, tokens)
        start = 0
        for row, at in zip(batch, positions):
            part = slice(start, start + len(at))
            step = self.next_step(row)
            self.drafted[row].append(Drafted(step, at, log_p[part], tokens[part]))
            start += len(at)

    def log_p(self, name: str, hidden) -> torch.Tensor:
        """[n, V] log-probabilities of a model's hidden rows [n, D]."""
        denoiser = self.denoisers[name]
        with self.timed("projection"):
            logits = projected(hidden, denoiser.head(), denoiser.mask_id)
        self.counts.projected[name] += len(hidden)
        return self.kernel.log_p(logits)

    def write(self, rows, positions, tokens: torch.Tensor):
        """Writes n tokens at rows and positions, [n] each."""
        self.state.z[*uploaded(self.state.z.device, rows, positions)] = tokens

    def run(self, name: str, batch: list[int]):
        """Drafts the next event of each row of the batch, or verifies what is drafted."""
        if name == self.draft.light:
            return super().run(name, batch)
        for row, drafted, log_p in zip(batch, *self.scored(batch)):
            self.verify(row, drafted, log_p)
        return None

    def scored(self, batch: list[int]) -> tuple[list[list[Drafted]], list[list[torch.Tensor]]]:
        """The drafted events of each row, and the heavy model's log-probabilities at each."""
        drafts = [self.drafted[row] for row in batch]
        places = [(row, k) for row, drafted in zip(batch, drafts) for k in range(len(drafted))]
        states = self.state.z[[row for row, _ in places]]
        mask_id = self.denoisers[self.draft.heavy].mask_id
        for state, (row, k) in zip(states, places):
            for later in self.drafted[row][k:]:
                state[torch.from_numpy(later.positions).to(state.device)] = mask_id
        events = [self.drafted[row][k] for row, k in places]
        times = [self.state.time(row, event.step) for (row, _), event in zip(places, events)]
        times, at, asked = uploaded(
            states.device, bits(times), *padded([event.positions for event in events])
        )
        hidden = self.hidden(self.draft.heavy, states, times, at)
        self.counts.forward(self.draft.heavy, len(states), sequential=len(batch))
        log_p = self.log_p(self.draft.heavy, hidden.flatten(0, 1)[asked])
        parts = iter(log_p.split([len(event.positions) for event in events]))
        return drafts, [[next(parts) for _ in drafted] for drafted in drafts]

    def verify(self, row: int, drafted: list[Drafted], log_p: list[torch.Tensor]):
        """Accepts the drafted events of a row up to the first that has a replaced token."""
        sample, mask_id = int(self.state.indices[row]), self.denoisers[self.draft.heavy].mask_id
        self.drafted[row] = []
        for k, (event, heavy_log_p) in enumerate(zip(drafted, log_p)):
            tokens = verified(event, heavy_log_p, self.seed, sample)
            self.events[row].pop()
            self.counts.tokens[self.draft.heavy] += len(tokens)
            if not torch.equal(tokens, event.tokens):
                self.write(np.full(len(tokens), row), event.positions, tokens)
                for later in drafted[k + 1 :]:
                    masks = torch.full_like(later.tokens, mask_id)
                    self.write(np.full(len(masks), row), later.positions, masks)
                return


def verified(event: Drafted, heavy_log_p: torch.Tensor, seed: int, sample: int) -> torch.Tensor:
    """The tokens of an event after verification: [positions].

    heavy_log_p: [positions, V].
    """
    tokens = event.tokens.clone()
    chosen = event.tokens[:, None]
    ratio = (heavy_log_p.gather(1, chosen) - event.log_p.gather(1, chosen)).exp().flatten().tolist()
    for i, position in enumerate(event.positions.tolist()):
        accept = randomness.generator(seed, randomness.ACCEPT, sample, position).random()
        if accept < ratio[i]:
            continue
        residual = (heavy_log_p[i].exp() - event.log_p[i].exp()).clamp_min(0)
        if residual.any():  # else the two differ by rounding alone
            logits, stream = residual.log()[None], randomness.RESIDUAL
            tokens[i] = draw_tokens(logits, seed, [sample], [position], stream)[0]
    return tokens
