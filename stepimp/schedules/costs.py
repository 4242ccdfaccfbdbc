"""What a schedule costs, from curves and without sampling (formulas 9 and 10)."""

import math

import numpy as np

from stepimp.curves.measurements import Measurements
from stepimp.errors import StepimpError
from stepimp.intervals import bootstrap, resampled_means
from stepimp.schedules.schedule import Schedule

Means = dict[str, np.ndarray]


def interpolation(times: np.ndarray, steps: int) -> np.ndarray:
    """[steps, len(times)] weights that carry a curve from its times to t_i = i/T, linearly;
    constant below the first.
    """
    t = np.arange(steps, 0, -1) / steps
    return np.stack([np.interp(t, times, one) for one in np.eye(len(times))], axis=1)


def cost_curves(found: Measurements, by: str) -> dict[str, np.ndarray]:
    """model -> [times, sequences] what running it at t costs, in nats; a schedule costs the mean
    over its steps.

    path: KL(heavy || model), formula (9); nelbo: CE, formula (10); kl: as path, relative to the
    baseline where there is one; these three are per token. loss: |CE_L - CE_H| per sequence,
    formula (5)."""
    zero = {found.heavy: np.zeros(found.tokens.shape)}
    match by:
        case "path":
            return zero | {m: found.per_token(found.kl[m]) for m in found.lights}
        case "kl":
            return zero | {m: found.per_token(found.relative_kl(m)) for m in found.lights}
        case "loss":
            return zero | {m: found.loss_difference(m, absolute=True) for m in found.lights}
        case "nelbo":
            return {m: found.per_token(found.ce[m]) for m in (found.heavy, *found.lights)}
    raise ValueError(f"unknown cost {by!r}")


def mean_curves(found: Measurements, by: str, seed: int) -> Means:
    """The cost curves' means over sequences with their resamples, which all models and kinds of
    cost share.
    """
    means = means_over_sequences(
        cost_curves(found, by), seed, None if by == "loss" else found.tokens
    )
    if not np.isfinite([one[:, 0] for one in means.values()]).all():
        raise StepimpError(
            "At some t no sequence has a masked token: measure the curves with more or longer sequences."
        )
    return means


def means_over_sequences(
    curves: dict[str, np.ndarray], seed: int, tokens: np.ndarray | None
) -> Means:
    """model -> [times, sequences] of nats, each sequence weighted by its tokens or all alike, as
    `Means`.
    """
    weights = None if tokens is None else np.concatenate([tokens] * len(curves))
    means = resampled_means(np.concatenate(list(curves.values())), seed, weights)
    return dict(zip(curves, np.split(means, len(curves))))


def step_costs(means: Means, times, steps: int) -> dict[str, np.ndarray]:
    """model -> [1 + R, steps] cost at each step, in sampling order."""
    carry = interpolation(times, steps)
    return {model: (carry @ values).T for model, values in means.items()}


def schedule_cost(schedule: Schedule, means: Means, times) -> np.ndarray:
    """[1 + R] mean cost over the steps of a schedule: (1/T) sum over i of the cost of s(i) at
    t_i.
    """
    models = np.array(schedule.by_step()[::-1])
    carry = interpolation(times, schedule.steps)
    return sum(carry[models == m].sum(0) @ means[m] for m in schedule.models) / schedule.steps


def predict(found: Measurements, schedules: list[Schedule], by: str, seed: int) -> list[dict]:
    """Path KL (9), NELBO (10) and objective of each schedule in nats, with 95% bands, without
    sampling.
    """
    columns = {"path_kl_nats": "path", "nelbo_nats": "nelbo", "objective": by}
    means = {name: mean_curves(found, kind, seed) for name, kind in columns.items()}
    return [
        {
            key: value
            for name, curves in means.items()
            for key, value in bootstrap(schedule_cost(schedule, curves, found.times))
            .columns(name)
            .items()
        }
        for schedule in schedules
    ]


def nelbo_rows(
    found: Measurements, blocks: dict[str, int], seed: int, steps: int = 1000
) -> list[dict]:
    """NELBO (10) of each model alone in nats per token, the baseline's too, shallowest first, with
    95% bands.

    Beside it the paired differences, of the same inputs: to the heavy model, and to the next deeper
    one, `deeper`. NaN where at some t no sequence has a masked token."""
    means = means_over_sequences(
        {m: found.per_token(ce) for m, ce in found.ce.items()}, seed, found.tokens
    )
    cost = {
        model: schedule_cost(Schedule.of([model] * steps), means, found.times) for model in means
    }
    rows = []
    for model in sorted(cost, key=lambda one: (blocks[one], one != found.heavy)):
        above = [one for one in cost if blocks[one] > blocks[model] and one != found.baseline]
        deeper = min(above, key=blocks.__getitem__, default=None)
        row = {"model": model, "deeper": deeper} | bootstrap(cost[model]).columns("nelbo_nats")
        row |= bootstrap(cost[model] - cost[found.heavy]).columns("nelbo_diff_nats")
        row |= bootstrap(cost[model] - cost[deeper]).columns("deeper_diff_nats") if deeper else {}
        rows.append(row)
    return rows


def saved_units(blocks: dict[str, int], heavy: str, save_flops: bool) -> dict[str, int]:
    """What a step of each model saves: 1 if it is not heavy, or for saved FLOPs its missing blocks
    in common units.
    """
    if not save_flops:
        return {model: int(model != heavy) for model in blocks}
    saved = {model: max(0, blocks[heavy] - count) for model, count in blocks.items()}
    common = math.gcd(*saved.values())
    if not common:
        raise StepimpError(
            f"No light model is shallower than {heavy}: nothing can be saved. Choose another --light."
        )
    return {model: value // common for model, value in saved.items()}
