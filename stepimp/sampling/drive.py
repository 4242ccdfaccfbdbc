"""Runs a saved schedule or plan with any PyTorch denoiser, as plainly as it can be written.

Which positions an event reveals never depends on the logits, so all events are drawn first. stepimp
itself samples with `stepimp.sampling.sampler`, which draws the same law in fewer passes; this is
for other code bases, and to be read.
"""

from collections.abc import Callable, Iterator, Mapping

import torch

from stepimp.errors import StepimpError
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.saved import SavedSchedule
from stepimp.schedules.schedule import Schedule

Logits = Callable[[torch.Tensor, float], torch.Tensor]
"""(ids [1, L], time in (0, 1]) -> logits [1, L, V]. Most models have no use for the time."""


def events(
    saved: SavedSchedule, positions: torch.Tensor, generator: torch.Generator | None = None
) -> Iterator[tuple[str, float, torch.Tensor]]:
    """The model, the time and the positions revealed of each event, in order.

    positions: [n] those that are masked. Raises StepimpError for a plan of another number.
    """
    schedule, n = saved.schedule, len(positions)
    order = positions[torch.randperm(n, generator=generator)]
    if isinstance(schedule, Plan):
        if schedule.length != n:
            raise StepimpError(f"The plan reveals {schedule.length} tokens, and {n} are masked.")
        groups = order.split([tokens for _, tokens in schedule.groups])
        for (model, _), revealed in zip(schedule.groups, groups):
            yield model, n / schedule.length, revealed
            n -= len(revealed)
    elif isinstance(schedule, MaskedSchedule) and saved.steps is None:
        for revealed in order.split(1):
            yield schedule.model_at(n), n / schedule.length, revealed
            n -= 1
    else:
        steps = schedule.steps if isinstance(schedule, Schedule) else saved.steps
        assert steps is not None  # else it is one token at a time
        step = torch.randint(1, steps + 1, (n,), generator=generator)
        for i in step.unique().tolist()[::-1]:  # at all other steps nothing happens
            revealed = order[step == i]
            if isinstance(schedule, Schedule):
                model = schedule.by_step()[i - 1]
            else:
                model = schedule.model_at(n)
            yield model, i / steps, revealed
            n -= len(revealed)


@torch.no_grad()
def drive(
    saved: SavedSchedule,
    models: Mapping[str, Logits],
    z: torch.Tensor,
    mask_id: int,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Fills the masked positions of one sequence: [L] ids -> [L].

    models: name in the schedule -> its logits. generator: of the positions and tokens, on the CPU.
    All other tokens are kept. Raises StepimpError for a model that is not given, or a plan of
    another number of masked positions.
    """
    if missing := [name for name in saved.schedule.models if name not in models]:
        raise StepimpError(f"The schedule runs {', '.join(missing)}: give their logits.")
    z = z.clone()
    masked = (z == mask_id).nonzero()[:, 0].cpu()
    for name, t, revealed in events(saved, masked, generator):
        logits = models[name](z[None], t)[0, revealed].double().cpu()
        logits[:, mask_id] = -torch.inf
        tokens = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
        z[revealed] = tokens.to(z)
    return z
