"""From curves to schedules: what a schedule costs (formulas 9 and 10), and the cheapest one under a budget.

Arrays over steps are in sampling order: index 0 is step T (t = 1), the last index is step 1.
"""

import math
from collections import deque
from dataclasses import replace

import numpy as np

from stepimp.curves import Measurements, bootstrap
from stepimp.errors import StepimpError
from stepimp.schedule import Schedule, quarters, sandwich, saved_flops

OBJECTIVES = ("kl", "loss", "nelbo")


def interpolation(times: np.ndarray, steps: int) -> np.ndarray:
    """[steps, len(times)] weights that carry a curve from its times to t_i = i/T, linearly; constant below the first."""
    t = np.arange(steps, 0, -1) / steps
    return np.stack([np.interp(t, times, one) for one in np.eye(len(times))], axis=1)


def cost_curves(found: Measurements, by: str) -> dict[str, np.ndarray]:
    """model -> [times, sequences] cost per token of running it at t; their mean over steps is the objective.

    kl: relative KL (raw without a baseline), 0 for the heavy model; loss: |CE_L - CE_H|; nelbo: CE, as formula (10).
    """
    zero = np.zeros(found.masked.shape[:2])
    if by == "kl":
        return {found.heavy: zero} | {m: found.per_token(found.relative_kl(m)) for m in found.lights}
    if by == "loss":
        return {found.heavy: zero} | {m: found.loss_difference(m, absolute=True) for m in found.lights}
    return {m: found.per_token(found.ce[m]) for m in (found.heavy, *found.lights)}


def step_costs(curves: dict[str, np.ndarray], times, steps: int) -> dict[str, np.ndarray]:
    """model -> [steps] mean cost at each step, in sampling order."""
    carry = interpolation(times, steps)
    return {model: carry @ np.nanmean(values, axis=1) for model, values in curves.items()}


def schedule_values(schedule: Schedule, curves: dict[str, np.ndarray], times) -> np.ndarray:
    """[sequences] the mean cost over steps of a schedule, per sequence: linear in the curves."""
    models = np.array(schedule.by_step()[::-1])
    carry = interpolation(times, schedule.steps)
    return sum(carry[models == m].sum(0) @ np.nan_to_num(curves[m]) for m in schedule.models) / schedule.steps


def predict(found: Measurements, schedules: list[Schedule], seed: int) -> list[dict]:
    """Path KL (9) and NELBO (10) in nats per token of each schedule, with 95% bands, without sampling."""
    zero = np.zeros(found.masked.shape[:2])
    kl = {found.heavy: zero} | {m: found.per_token(found.kl[m]) for m in found.lights}
    ce = {m: found.per_token(found.ce[m]) for m in (found.heavy, *found.lights)}
    values = [schedule_values(s, curves, found.times) for s in schedules for curves in (kl, ce)]
    point, low, high, _ = bootstrap(np.stack(values), seed)
    table = np.stack([point, low, high], -1).reshape(len(schedules), 2, 3)
    ends = ("", "_low", "_high")
    return [
        {name + end: float(v) for name, three in zip(("path_kl_nats", "nelbo_nats"), one) for end, v in zip(ends, three)}
        for one in table
    ]


class Frontier:
    """The cheapest schedule for every amount of saving, found exactly by dynamic programming over steps.

    costs: model -> [T] cost of each step; gains: model -> units saved by a step that runs it. A schedule has at most
    `segments` segments of at least `shortest` steps. cost: [S + 1] the minimum summed cost at each saving, inf where no
    schedule saves exactly that much.

    State after step i: (segments so far - 1, model, units saved). A segment enters with its first `shortest` steps at
    once and then grows by one step; `_came_from` notes which, so that a schedule can be read back.
    """

    def __init__(self, costs: dict[str, np.ndarray], gains: dict[str, int], segments: int, shortest: int = 1):
        self.models, self.gains, self.shortest = list(costs), [gains[m] for m in costs], shortest
        table = np.stack([costs[m] for m in self.models])
        self.steps = table.shape[1]
        running = np.concatenate([np.zeros((len(self.models), 1)), table.cumsum(1)], axis=1)
        savings = self.steps * max(self.gains) + 1
        shape = (segments, len(self.models), savings)
        self._came_from = np.zeros((self.steps + 1, *shape), dtype=np.uint8)  # 0: grew; 1 + m: began after model m
        recent = deque([np.full(shape, np.inf)], maxlen=shortest)  # values after the last `shortest` steps, oldest first
        for i in range(1, self.steps + 1):
            best = np.full(shape, np.inf)
            reached = (i - 1) * max(self.gains) + 1  # nothing can be saved beyond
            for m, gain in enumerate(self.gains):
                np.add(recent[-1][:, m, :reached], table[m, i - 1], out=best[:, m, gain : gain + reached])
                if len(recent) == shortest:
                    entry = running[m, i] - running[m, i - shortest]
                    self._enter(best, m, i, recent[0], entry)
            recent.append(best)
        self._final = recent[-1].reshape(-1, savings)
        self.cost = self._final.min(0)

    def _enter(self, best, m, i, before, entry):
        """Segments of model m whose first `shortest` steps end at step i."""
        saved = self.gains[m] * self.shortest
        if i == self.shortest:
            if entry < best[0, m, saved]:
                best[0, m, saved], self._came_from[i, 0, m, saved] = entry, 1 + m
            return
        others = [o for o in range(len(self.models)) if o != m]
        if not others or best.shape[0] == 1:
            return
        reached = (i - self.shortest) * max(self.gains) + 1
        candidates = before[:-1, others, :reached]
        source = candidates.argmin(1)
        value = np.take_along_axis(candidates, source[:, None], 1)[:, 0] + entry
        target = best[1:, m, saved : saved + reached]
        better = value < target
        np.copyto(target, value, where=better)
        came = self._came_from[i, 1:, m, saved : saved + reached]
        np.copyto(came, 1 + np.array(others, dtype=np.uint8)[source], where=better)

    def best(self, saving: int) -> Schedule:
        """The cheapest schedule that saves exactly so many units."""
        if not np.isfinite(self.cost[saving]):
            raise StepimpError("No schedule meets the budget within these limits: allow more or shorter segments.")
        k, m = np.unravel_index(int(self._final[:, saving].argmin()), self._came_from.shape[1:3])
        i, runs = self.steps, []
        while i > 0:
            source = int(self._came_from[i, k, m, saving])
            length = self.shortest if source else 1
            runs.append((self.models[m], length))
            i, saving = i - length, saving - self.gains[m] * length
            if source and i:
                k, m = k - 1, source - 1
        return Schedule.of([name for name, length in reversed(runs) for _ in range(length)])


def units(blocks: dict[str, int], heavy: str, save_flops: bool) -> dict[str, int]:
    """What a step of each model saves: 1 if it is not heavy, or for saved FLOPs its missing blocks in common units."""
    if not save_flops:
        return {model: int(model != heavy) for model in blocks}
    saved = {model: max(0, blocks[heavy] - count) for model, count in blocks.items()}
    common = math.gcd(*saved.values()) or 1
    return {model: value // common for model, value in saved.items()}


def comparisons(steps: int, light_steps: int, heavy: str, light: str) -> dict[str, Schedule]:
    """Schedules to hold a recommendation against, by name."""
    names = ("1st quarter", "2nd quarter", "3rd quarter", "4th quarter")
    named = {"sandwich": sandwich(steps, light_steps, heavy, light)} if 0 < light_steps < steps else {}
    named |= dict(zip(names, quarters(steps, heavy, light)))
    return named | {"all-heavy": Schedule.of([heavy] * steps), "all-light": Schedule.of([light] * steps)}


def recommend(found: Measurements, blocks: dict[str, int], budget: float, *, steps=1000, by="kl", segments=3, shortest=1,
              save_flops=False, seed=0) -> dict:  # fmt: skip
    """The exact optimum under a budget, beside the schedules people would write by hand.

    budget: the fraction of steps that run light, met exactly, or with save_flops the saved FLOPs of formula (3), met at
    least. Returns {"rows": ..., "tradeoff": ...}: predictions for each schedule, best objective first, and the cheapest
    schedule for budgets from nothing to all.
    """
    blocks = {m: blocks[m] for m in (found.heavy, *found.lights)}
    gains = units(blocks, found.heavy, save_flops)
    if not max(gains.values()):
        raise StepimpError(f"No light model is shallower than {found.heavy}: nothing can be saved. Choose another --light.")
    curves = cost_curves(found, by)
    frontier = Frontier(step_costs(curves, found.times, steps), gains, segments, shortest)
    per_unit = saved_flops_per_unit(blocks, found.heavy, gains) if save_flops else 1.0
    aim = math.ceil(budget * steps / per_unit - 1e-9) if save_flops else round(budget * steps)
    reachable = np.flatnonzero(np.isfinite(frontier.cost))
    chosen = reachable[reachable >= aim] if save_flops else reachable[reachable == aim]
    if not len(chosen):
        top = reachable.max() * per_unit / steps
        raise StepimpError(f"A budget of {budget} cannot be met: the most these models and limits allow is {top:.3f}.")
    best = frontier.best(int(chosen[frontier.cost[chosen].argmin()]))
    light = min(found.lights, key=lambda m: blocks[m])
    light_steps = sum(count for model, count in best.segments if model != found.heavy)
    named = {"recommended": best} | comparisons(steps, light_steps, found.heavy, light)
    rows = []
    predictions = predict(found, list(named.values()), seed)
    objectives, low, high, _ = bootstrap(np.stack([schedule_values(s, curves, found.times) for s in named.values()]), seed)
    for (name, schedule), prediction, *objective in zip(named.items(), predictions, objectives, low, high):
        rows.append(describe(name, schedule, blocks, found.heavy, light) | prediction
                    | dict(zip(("objective", "objective_low", "objective_high"), map(float, objective))))  # fmt: skip
    first, *others = rows
    rows = [first, *sorted(others, key=lambda row: row["objective"])]
    tradeoff = []
    for part in np.linspace(0, reachable.max(), 21):
        saving = int(reachable[np.abs(reachable - part).argmin()])
        schedule = frontier.best(saving)
        tradeoff.append(describe("best", schedule, blocks, found.heavy, light)
                        | {"objective": float(frontier.cost[saving] / steps)})  # fmt: skip
    return {"rows": [{"rank": i + 1, **row} for i, row in enumerate(rows)], "tradeoff": tradeoff}


def saved_flops_per_unit(blocks, heavy, gains) -> float:
    """Saved FLOPs of a schedule that saves one unit at every step."""
    model = max(gains, key=gains.get)
    return (blocks[heavy] - blocks[model]) / blocks[heavy] / gains[model]


def describe(name, schedule, blocks, heavy, light) -> dict:
    return {
        "name": name,
        "schedule": schedule.format(heavy, light),
        "light_fraction": 1 - schedule.fraction(heavy),
        "saved_flops": saved_flops(schedule, blocks, heavy),
    }


def recommend_from(document: dict, params: dict) -> dict:
    """`recommend` on a results document of `kl` or `loss`. params: of the `recommend` run."""
    found = Measurements.unpack(document)
    blocks, lights = document["blocks"], params["lights"]
    for light in lights:
        if light not in found.lights:
            raise StepimpError(f"{document['path']} has no curve of {light!r}, only of {', '.join(found.lights)}.")
    if not params["save_flops"]:  # a fraction of light steps says nothing about which light model: take the shallowest
        lights = [min(lights, key=lambda m: blocks[m])]
    options = {name: params[name] for name in ("steps", "by", "segments", "shortest", "save_flops", "seed")}
    return recommend(replace(found, lights=tuple(lights)), blocks, params["budget"], **options)
