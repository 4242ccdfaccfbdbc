"""How samples are drawn, as one value: a schedule, plan, cascade or draft, and a sampler for it.

`draw` runs every policy of the exact law, and those of other laws (`Policy.exact` tells them
apart).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

import torch

from stepimp.checks import Count, shortened
from stepimp.errors import StepimpError
from stepimp.models.denoiser import Denoiser
from stepimp.models.options import check_fields
from stepimp.sampling.batching import Runner, in_batches
from stepimp.sampling.cascade import Cascade, CascadeRunner
from stepimp.sampling.drafting import Draft, DraftRunner
from stepimp.sampling.kernel import Kernel
from stepimp.sampling.orders import Order, OrderRunner, evenly
from stepimp.sampling.remasking import RemaskRunner
from stepimp.sampling.sampler import EventRunner, steps_of
from stepimp.sampling.state import Counts, State, begin, check
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.saved import AnySchedule
from stepimp.schedules.schedule import Schedule


@dataclass(frozen=True)
class Policy:
    """How samples are drawn. Raises StepimpError for parts of another type than declared, and for
    an order that does not go with the schedule.
    """

    schedule: AnySchedule | Cascade | Draft
    """Which model runs when; `stepimp.schedules.schedule.parse` makes a `Schedule` of its
    notation."""
    steps: Count | None = None
    """T of ancestral sampling, for what has no T of its own."""
    first_hitting: bool = False
    """Unmask one position at a time, the limit of T to infinity."""
    kernel: Kernel = Kernel()
    """The distribution that tokens are drawn from."""
    order: Order | None = None
    """Which positions the logits prefer; None: uniformly random ones, as the exact law has it."""

    def __post_init__(self):
        if isinstance(self.schedule, str):
            raise StepimpError(
                f"{shortened(self.schedule)} is a notation: give the Schedule that "
                "stepimp.schedules.schedule.parse makes of it."
            )
        check_fields(self)
        if self.order and isinstance(self.schedule, (Cascade, Draft)):
            raise StepimpError(
                f"The order {self.order.format()} needs a schedule, not a cascade or a draft."
            )
        if self.order and self.order.remasking and self.first_hitting:
            raise StepimpError(f"The order {self.order.format()} needs T, the number of steps.")

    @property
    def exact(self) -> bool:
        """Whether the law is that of the model's own sampler, which NELBO and path KL are about."""
        return self.kernel.exact and self.order is None

    def begin(
        self,
        denoisers: dict[str, Denoiser],
        indices,
        length: int,
        seed: int,
        prefix: torch.Tensor | None = None,
    ) -> State:
        """Samples before their first step. Raises StepimpError for what cannot be sampled."""
        check(denoisers, self.schedule, length, prefix)
        first = denoisers[self.schedule.models[0]]
        steps = steps_of(self.schedule, self.steps, self.first_hitting)

        def begun(steps) -> State:
            given = (first.mask_id, seed, prefix, first.device, first.frame)
            return begin(indices, length, steps, *given)

        if self.order is None or self.order.remasking or isinstance(steps, tuple):
            return begun(steps)
        return evenly(begun(None), None if self.order.adaptive else steps)

    def runner(
        self, state: State, denoisers: dict[str, Denoiser], seed: int, counts: Counts | None = None
    ) -> Runner:
        """What runs the events of samples that have begun."""
        kernel, order = self.kernel, self.order
        match self.schedule:
            case Cascade() as cascade:
                return CascadeRunner(state, denoisers, cascade, seed, counts, kernel=kernel)
            case Draft() as draft:
                return DraftRunner(state, denoisers, draft, seed, counts, kernel=kernel)
            case Schedule() | MaskedSchedule() | Plan() as schedule:
                if order is None:
                    return EventRunner(state, denoisers, schedule, seed, counts, kernel=kernel)
                chosen = RemaskRunner if order.remasking else OrderRunner
                return chosen(state, denoisers, schedule, seed, counts, order=order, kernel=kernel)
            case _:
                assert_never(self.schedule)


@torch.no_grad()
def draw(
    denoisers: dict[str, Denoiser],
    policy: Policy,
    indices,
    length: int,
    *,
    seed: int,
    prefix: torch.Tensor | None = None,
    batch_size: int = 16,
    counts: Counts | None = None,
) -> Iterator[tuple[int, torch.Tensor]]:
    """(place in `indices`, tokens [length]) of each sample when it is finished.

    prefix: [P] tokens for all samples, or [N, P]; mask tokens among them are drawn. batch_size:
    sequences per forward pass. counts: updated with what it cost. Each sample's draws are a
    function of (seed, index) alone. Raises StepimpError for what cannot be sampled.
    """
    if not isinstance(policy, Policy):
        raise StepimpError(f"{policy!r} is not a Policy: give Policy(schedule).")
    state = policy.begin(denoisers, indices, length, seed, prefix)
    runner = policy.runner(state, denoisers, seed, counts)
    for row in in_batches(runner, len(state.indices), len(policy.schedule.models), batch_size):
        yield row, state.z[row]


def sample(
    denoisers: dict[str, Denoiser],
    policy: Policy,
    indices,
    length: int,
    *,
    seed: int,
    prefix: torch.Tensor | None = None,
    batch_size: int = 16,
    counts: Counts | None = None,
) -> torch.Tensor:
    """The samples that `draw` draws, all at once: [N, length] tokens, in the order of `indices`."""
    options = dict(seed=seed, prefix=prefix, batch_size=batch_size, counts=counts)
    drawn = dict(draw(denoisers, policy, indices, length, **options))
    if not drawn:
        raise StepimpError("There is no sample to draw.")
    return torch.stack([drawn[row] for row in range(len(drawn))])
