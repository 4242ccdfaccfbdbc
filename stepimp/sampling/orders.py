"""Orders people use: the logits choose which positions unmask, so that the law is another one.

NELBO and path KL do not apply to them. Which model runs when is a choice beside the order: a model
schedule says it, and how many tokens each step reveals.
"""

from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch

from stepimp.errors import StepimpError
from stepimp.kernels.draw import draw_tokens, projected
from stepimp.sampling.batching import bits, uploaded
from stepimp.sampling.order_rules import ORDERS, Adaptive, Ranking, Remasking, Rule
from stepimp.sampling.sampler import EventRunner, padded
from stepimp.sampling.state import State
from stepimp.schedules.plan import Plan


@dataclass(frozen=True)
class Order:
    """Which positions unmask, given the log-probabilities at all masked ones.

    name: of a rule in `order_rules.ORDERS`, which says what it prefers; level: a parameter of the
    rule, by default the rule's own. Raises StepimpError for an unknown name and for a level that
    the rule does not take.
    """

    name: str
    level: float | None = None

    def __post_init__(self):
        if self.name not in ORDERS:
            raise StepimpError(f"Unknown order {self.name!r}: choose one of {', '.join(ORDERS)}.")
        rule, level = self.rule, self.level
        if isinstance(rule, Ranking):
            if level is not None:
                raise StepimpError(f"The order {self.name} takes no level: leave {level:g} out.")
            return
        level = rule.level if level is None else level
        if not isinstance(level, Real):
            raise StepimpError(f"The level {level!r} of the order {self.name} is not a number.")
        if not 0 <= level <= rule.highest_level:  # NaN as well
            raise StepimpError(
                f"The level of {self.name} is {level:g}, outside 0..{rule.highest_level:g}."
            )
        object.__setattr__(self, "level", level)

    @property
    def rule(self) -> Rule:
        """What the order prefers."""
        return ORDERS[self.name]

    @classmethod
    def parse(cls, text: str) -> "Order":
        """Reads a name, or a name and a level as in threshold:0.9."""
        name, colon, level = text.partition(":")
        try:
            return cls(name, float(level) if colon else None)
        except ValueError as error:
            raise StepimpError(f"Cannot read the level of the order {text!r}.") from error

    def format(self) -> str:
        """The notation."""
        return self.name if self.level is None else f"{self.name}:{self.level:g}"

    @property
    def adaptive(self) -> bool:
        """Whether the logits also decide how many positions unmask."""
        return isinstance(self.rule, Adaptive)

    @property
    def remasking(self) -> bool:
        """Whether tokens may be masked again."""
        return isinstance(self.rule, Remasking)

    def choose(self, log_p: torch.Tensor, count: int) -> torch.Tensor:
        """Which of n positions unmask, the best first. log_p: [n, V]; count: how many, unless the
        order is adaptive. Raises StepimpError for a rule that does not give n scores.
        """
        rule = self.rule
        if isinstance(rule, Remasking):
            raise TypeError(f"{self.name} draws at random positions.")
        score = rule.score(log_p)
        if score.shape != log_p.shape[:1]:
            raise StepimpError(
                f"The rule of the order {self.name} gives scores of shape {list(score.shape)}, not "
                f"one for each of {len(log_p)} positions."
            )
        best_first = score.argsort(descending=True, stable=True)
        if isinstance(rule, Adaptive):
            assert self.level is not None
            count = rule.count(score[best_first], self.level)
        return best_first[:count]


class OrderRunner(EventRunner):
    """`EventRunner` that unmasks, at each event, the positions that the order prefers."""

    def __init__(self, state: State, denoisers, schedule, seed, counts=None, *, order, **options):
        if order.adaptive and isinstance(schedule, Plan):
            raise StepimpError(
                f"The order {order.format()} decides how many tokens unmask, and so does a plan: "
                "choose a schedule."
            )
        super().__init__(state, denoisers, schedule, seed, counts, **options)
        self.order = order

    def enter(self, row: int):
        """Nothing is shared: the projection at all masked positions is most of the work."""

    def run(self, name: str, batch: list[int]):
        """Runs the next event of each row of the batch, which all wait for this model."""
        denoiser, z = self.denoisers[name], self.state.z
        masked = [np.flatnonzero(row) for row in (z[batch] == denoiser.mask_id).cpu().numpy()]
        times = [self.state.time(row, self.next_step(row)) for row in batch]
        rows, times, at, asked = uploaded(z.device, batch, bits(times), *padded(masked))
        hidden = self.hidden(name, z[rows], times, at).flatten(0, 1)[asked]
        self.counts.forward(name, len(batch))
        parts = hidden.split([len(positions) for positions in masked])
        for row, positions, part in zip(batch, masked, parts):
            with self.timed("projection"):
                logits = projected(part, denoiser.head(), denoiser.mask_id)
            self.counts.projected[name] += len(positions)
            log_p = self.kernel.log_p(logits)
            step = self.next_step(row)
            chosen = self.order.choose(log_p, int((self.state.unmask_step[row] == step).sum()))
            places = positions[chosen.cpu().numpy()]
            with self.timed("draw"):
                sample = [int(self.state.indices[row])] * len(places)
                tokens = draw_tokens(log_p[chosen], self.seed, sample, places)
            z[*uploaded(z.device, [row] * len(places), places)] = tokens
            self.counts.tokens[name] += len(places)
            events = len(places) if self.order.adaptive else 1
            del self.events[row][-events:]


def evenly(state: State, steps: int | None) -> State:
    """Samples that have not begun, whose steps reveal as many tokens each as the others, or one
    more; with None one token each. Times are i/T, or the share of positions that are masked.

    state: begun for first-hitting sampling. Its steps, which say how many positions unmask when,
    are replaced.
    """
    rank, most = state.unmask_step, state.unmask_step.max(axis=1, keepdims=True)
    if steps is None:
        state.times = np.arange(1, rank.shape[1] + 1) / most
    else:
        state.unmask_step = -(-rank * steps // most)
        state.times, state.clock = np.arange(1, steps + 1) / steps, steps
    return state
