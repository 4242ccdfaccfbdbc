"""ReMDM, ancestral sampling that masks tokens again (arXiv 2503.00307): cap, rescale, conf, loop.

From t to s a token stays with probability 1 - sigma, else it is masked; a masked position unmasks
with probability (alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t). Both are drawn without the logits
of the step, so that nothing runs at a step where no position unmasks.
"""

from dataclasses import dataclass

import numpy as np
import torch

from stepimp import randomness
from stepimp.errors import StepimpError
from stepimp.kernels.draw import draw_tokens, projected
from stepimp.models.denoiser import Denoiser
from stepimp.sampling.batching import bits, rows_at, uploaded
from stepimp.sampling.kernel import Kernel
from stepimp.sampling.order_rules import Remasking
from stepimp.sampling.orders import Order
from stepimp.sampling.sampler import EXACT, padded
from stepimp.sampling.state import Counts, State
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.saved import AnySchedule


def rule_of(order: Order) -> Remasking:
    """The rule of an order that remasks."""
    assert isinstance(order.rule, Remasking), order.name
    return order.rule


def remasking(order: Order, t: float, s: float, drawn_with: np.ndarray) -> np.ndarray:
    """[L] sigma of each position, from time t to s.

    drawn_with: [L] the probability with which each token was drawn, NaN where there is none to mask
    again.
    """
    rule, level = rule_of(order), order.level or 0.0
    before, after = rule.alpha(t), rule.alpha(s)
    largest = min(1.0, (1 - after) / before) if before > 0 else 1.0
    return np.broadcast_to(rule.sigma(level, largest, t, drawn_with), drawn_with.shape)


def unmasking(order: Order, t: float, s: float, sigma: np.ndarray) -> np.ndarray:
    """[L] probability with which a masked position unmasks from time t to s."""
    alpha = rule_of(order).alpha
    before, after = alpha(t), alpha(s)
    return (after - (1 - sigma) * before) / (1 - before)


@dataclass
class Waiting:
    """A step at which positions unmask."""

    step: int
    unmask: np.ndarray
    remask: np.ndarray


class RemaskRunner:
    """Runs samples of ReMDM from one step where something unmasks to the next."""

    def __init__(
        self,
        state: State,
        denoisers: dict[str, Denoiser],
        schedule: AnySchedule,
        seed: int,
        counts: Counts | None = None,
        *,
        order: Order,
        kernel: Kernel = EXACT,
    ):
        if isinstance(schedule, Plan):
            raise StepimpError(f"The order {order.format()} needs a schedule, not a plan.")
        self.state, self.denoisers, self.schedule, self.seed = state, denoisers, schedule, seed
        self.counts, self.order, self.kernel = counts or Counts(), order, kernel
        self.alpha = rule_of(order).alpha
        self.steps = state.clock
        self.mask_id = denoisers[schedule.models[0]].mask_id
        self.given = state.unmask_step == 0
        self.confidence = np.full(state.unmask_step.shape, np.nan)
        self.clock = [self.steps] * len(state.indices)
        self.waiting: list[Waiting | None] = [None] * len(state.indices)

    def enter(self, row: int):
        """Finds the first step at which something unmasks."""
        self.find_event(row)

    def left(self, row: int) -> int:
        """Number of steps that a sample still has."""
        waiting = self.waiting[row]
        return 0 if waiting is None else waiting.step

    def model(self, row: int) -> str:
        """The model that a sample waits for."""
        waiting = self.waiting[row]
        assert waiting is not None
        if isinstance(self.schedule, MaskedSchedule):
            return self.schedule.model_at(int((self.state.z[row] == self.mask_id).sum()))
        return self.schedule.by_step()[waiting.step - 1]

    def sequences(self, name: str) -> int:
        """The most sequences that a model runs for one sample at once."""
        return 1

    def find_event(self, row: int):
        """Draws steps, and masks tokens again, up to the next step at which something unmasks."""
        z, length = self.state.z, self.state.z.shape[1]
        self.waiting[row] = None
        masked = (z[row] == self.mask_id).cpu().numpy()
        while self.clock[row] and self.waiting[row] is None:
            step = self.clock[row]
            t, s = step / self.steps, (step - 1) / self.steps
            index = int(self.state.indices[row])
            draws = randomness.generator(self.seed, randomness.REMASK, index, step).random(length)
            sigma = remasking(self.order, t, s, self.confidence[row])
            unmask = np.flatnonzero(masked & (draws < unmasking(self.order, t, s, sigma)))
            remask = np.flatnonzero(~masked & ~self.given[row] & (draws < sigma))
            self.clock[row] -= 1
            if len(unmask):
                self.waiting[row] = Waiting(step, unmask, remask)
            else:
                self.mask_again(row, remask)
                masked[remask] = True

    def mask_again(self, row: int, positions: np.ndarray):
        """Masks these positions."""
        self.state.z[row, torch.from_numpy(positions).to(self.state.z.device)] = self.mask_id
        self.confidence[row, positions] = np.nan

    def run(self, name: str, batch: list[int]):
        """Runs the step that each row of the batch waits for."""
        denoiser, z = self.denoisers[name], self.state.z
        waiting = [event for row in batch if (event := self.waiting[row])]
        positions = [each.unmask for each in waiting]
        times = [1 - self.alpha(each.step / self.steps) for each in waiting]
        rows, times, at, asked = uploaded(z.device, batch, bits(times), *padded(positions))
        hidden = rows_at(denoiser, z[rows], times, at).flatten(0, 1)[asked]
        self.counts.forward(name, len(batch))
        self.counts.drawn(name, len(hidden))
        log_p = self.kernel.log_p(projected(hidden, denoiser.head(), denoiser.mask_id))
        parts = log_p.split([len(each) for each in positions])
        for row, event, part in zip(batch, waiting, parts):
            # A position may be drawn at several steps: each has noise of its own.
            noise = event.unmask + z.shape[1] * event.step
            sample = [int(self.state.indices[row])] * len(noise)
            tokens = draw_tokens(part, self.seed, sample, noise)
            z[row, torch.from_numpy(event.unmask).to(z.device)] = tokens
            drawn = part.gather(1, tokens[:, None]).exp().flatten()
            self.mask_again(row, event.remask)
            self.confidence[row, event.unmask] = drawn.cpu().numpy()
            self.find_event(row)
