"""The cheapest schedule over n for every amount of saving: exact dynamic programming over n, where
what an event saves may differ from n to n.
"""

from collections.abc import Mapping

import numpy as np

from stepimp.errors import StepimpError
from stepimp.schedules.over_masked import MaskedSchedule


class MaskedFrontier:
    """The cheapest schedules over n of at most `segments` segments.

    costs: model -> [P] cost of running it at n, n from P to 1; units: model -> [P] whole units that
    this saves. After construction `cost` is [S + 1]: the least summed cost at each saving, inf
    where no schedule saves exactly that much.

    State at each n: (segments before, model, units saved).
    """

    def __init__(
        self, costs: Mapping[str, np.ndarray], units: Mapping[str, np.ndarray], segments: int
    ):
        self.models = list(costs)
        self._units = np.stack([units[m] for m in self.models])  # [models, P]
        positions, most = self._units.shape[1], int(self._units.max(0).sum())
        value = np.full((segments, len(self.models), most + 1), np.inf)
        value[0, :, 0] = 0
        # 0: the segment continues from the n before; 1 + m: it begins after one of model m
        self._source = np.zeros((positions, *value.shape), np.uint8)
        for k in range(positions):
            if k:
                source, finished = value[:-1].argmin(1), value[:-1].min(1)
                begins = finished[:, None] < value[1:]
                self._source[k, 1:] = np.where(begins, 1 + source[:, None], 0)
                np.minimum(value[1:], finished[:, None], out=value[1:])
            moved = np.full_like(value, np.inf)
            for m, model in enumerate(self.models):
                unit = self._units[m, k]
                moved[:, m, unit:] = value[:, m, : most + 1 - unit] + costs[model][k]
            value = moved
        self._final = value.reshape(-1, most + 1)
        self.cost = self._final.min(0)

    def best(self, saving: int) -> MaskedSchedule:
        """The cheapest schedule that saves exactly `saving` units. Raises StepimpError where there
        is none.
        """
        if not np.isfinite(self.cost[saving]):
            raise StepimpError(
                "No schedule meets the budget within the limit: allow more segments."
            )
        segment, m = divmod(int(self._final[:, saving].argmin()), len(self.models))
        models = []
        for k in reversed(range(self._units.shape[1])):
            models.append(self.models[m])
            saving -= self._units[m, k]
            if source := int(self._source[k, segment, m, saving]):
                segment, m = segment - 1, source - 1
        return MaskedSchedule.of(reversed(models))
