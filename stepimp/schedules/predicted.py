"""What curves over n predict of schedules over n, over steps, and of plans, without sampling.

Each is a table: which share of the tokens each model reveals from each number of masked positions.
Arrays over n run from P, the number of positions that can be masked, to 1, as sampling does.
"""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from stepimp.curves.measurements import Measurements
from stepimp.errors import StepimpError
from stepimp.intervals import bootstrap
from stepimp.schedules.costs import mean_curves, step_costs
from stepimp.schedules.masked_costs import event_weights, over_steps
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.passes import passes_of
from stepimp.schedules.plan import Plan
from stepimp.schedules.saved import AnySchedule

Shares = dict[str, np.ndarray]
"""Model -> [P] share of the tokens that it reveals in events which begin with n masked positions;
all shares together are 1."""


def curves_over_masked(measurements: Measurements, by: str, seed: int) -> dict[str, np.ndarray]:
    """model -> [1 + R, P] mean cost at every n from P to 1, interpolated between those measured,
    and its resamples. by: see `costs.cost_curves`. Raises StepimpError for curves over t.
    """
    if measurements.maskable is None:
        raise StepimpError("These curves are over t: measure by the number of masked positions.")
    means = mean_curves(measurements, by, seed)
    return step_costs(means, measurements.times, measurements.maskable)


def cost(shares: Shares, curves: dict[str, np.ndarray]) -> np.ndarray:
    """[1 + R] cost per token: the mean over tokens of the curve of the model that reveals them, at
    the n it begins with.
    """
    return np.sum([curves[model] @ share for model, share in shares.items()], axis=0)


class Predictor:
    """Costs of schedules from curves over n.

    steps: T of ancestral sampling; None: events of one token. by: the objective, see
    `costs.cost_curves`.
    """

    def __init__(
        self,
        measurements: Measurements,
        blocks: Mapping[str, int],
        by: str,
        steps: int | None,
        seed: int,
    ):
        self.heavy, self.blocks, self.steps = measurements.heavy, blocks, steps
        kinds = {"path_kl_nats": "path", "nelbo_nats": "nelbo", "objective": by}
        self.curves = {
            column: curves_over_masked(measurements, kind, seed) for column, kind in kinds.items()
        }
        self.positions = self.curves["objective"][self.heavy].shape[1]
        self._weigh()

    def _weigh(self):
        self.tokens, self.forwards = event_weights(self.positions, self.steps)
        # [P, T]: which n the tokens of each step are revealed from
        self._by_step = over_steps(np.eye(self.positions), self.steps)

    def with_steps(self, steps: int | None) -> "Predictor":
        """A predictor from the same curves for another T."""
        other = copy.copy(self)
        other.steps = steps
        other._weigh()
        return other

    def shares(self, schedule: AnySchedule) -> Shares:
        """Which tokens each model reveals. A `Schedule` is over the T steps, or with events of one
        token over `CONTINUOUS` equal parts of the time.
        """
        if isinstance(schedule, Plan):
            return plan_shares(schedule)
        if isinstance(schedule, MaskedSchedule):
            models = np.array(schedule.by_masked()[::-1])
            return {model: self.tokens * (models == model) for model in schedule.models}
        models = np.array(schedule.by_step()[::-1])
        by_step = self._by_step / schedule.steps
        return {model: by_step[:, models == model].sum(1) for model in schedule.models}

    def passes(self, schedule: AnySchedule) -> dict[str, float]:
        """model -> expected forward passes of a sample. At each of T steps the same number of
        passes is expected.
        """
        return passes_of(schedule, self.forwards)

    def saved(self, schedule: AnySchedule) -> float:
        """Formula (3) over the expected forward passes: 1 - mean of B / B_H, counting blocks."""
        passes = self.passes(schedule)
        mean = sum(self.blocks[m] * count for m, count in passes.items()) / sum(passes.values())
        return 1 - mean / self.blocks[self.heavy]

    def row(self, name: str, schedule: AnySchedule, light: str | None) -> dict[str, Any]:
        """The columns of a `PredictedRow`. light: the model L stands for, None to write names."""
        passes, shares = self.passes(schedule), self.shares(schedule)
        blocks = sum(self.blocks[model] * count for model, count in passes.items())
        cells: dict[str, Any] = {
            "name": name,
            "schedule": schedule.format(*((self.heavy, light) if light else ())),
            "light_fraction": 1 - passes.get(self.heavy, 0.0) / sum(passes.values()),
            "saved_flops": self.saved(schedule),
            "forwards": sum(passes.values()),
            "heavy_forwards": blocks / self.blocks[self.heavy],
        }
        for column, curves in self.curves.items():
            cells |= bootstrap(cost(shares, curves)).columns(column)
        return cells


def plan_shares(plan: Plan) -> Shares:
    """A group of s tokens that begins with n masked positions reveals the share s / P from n."""
    shares = {model: np.zeros(plan.length) for model in plan.models}
    left = plan.length
    for model, tokens in plan.groups:
        shares[model][plan.length - left] = tokens / plan.length
        left -= tokens
    return shares
