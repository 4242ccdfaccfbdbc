"""How many forward passes of each model a sample is expected to take."""

import numpy as np

from stepimp.schedules.masked_costs import event_weights
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.saved import AnySchedule
from stepimp.schedules.schedule import Schedule


def expected_forwards(masked: int, steps: int) -> float:
    """Expected number of forward passes of a sample: the distinct steps among T at which `masked`
    positions unmask.
    """
    return steps * (1 - (1 - 1 / steps) ** masked)


def expected_passes(
    schedule: AnySchedule, positions: int, steps: int | None = None
) -> dict[str, float]:
    """model -> expected forward passes of a sample that begins with `positions` masked positions.

    steps: T of ancestral sampling with a schedule over masked positions; None: events of one token.
    """
    if isinstance(schedule, Schedule):
        total = expected_forwards(positions, schedule.steps)
        return {model: total * schedule.fraction(model) for model in schedule.models}
    return passes_of(schedule, event_weights(positions, steps)[1])


def passes_of(schedule: AnySchedule, forwards: np.ndarray) -> dict[str, float]:
    """model -> expected forward passes. forwards: [P] expected number of events that begin with n
    masked positions, n from P to 1, apart from plans.

    Of a plan or a schedule over masked positions that is made for more positions, the end is used.
    At each of T steps the same number of passes is expected.
    """
    positions = len(forwards)
    match schedule:
        case Plan():
            groups, left = [], 0
            for model, tokens in reversed(schedule.groups):
                if left < positions:
                    groups.append(model)
                left += tokens
            return {m: float(groups.count(m)) for m in schedule.models if m in groups}
        case MaskedSchedule():
            models = np.array(schedule.by_masked()[:positions][::-1])
            return {m: float(forwards[models == m].sum()) for m in schedule.models}
    total = float(forwards.sum())
    return {model: total * schedule.fraction(model) for model in schedule.models}
