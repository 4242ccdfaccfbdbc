"""What a schedule costs, from curves and without sampling (formulas 9 and 10)."""

import math

import numpy as np

from stepimp.curves.measurements import Measurements
from stepimp.curves.tables import Means, interpolation, means_over_sequences
from stepimp.errors import StepimpError
from stepimp.intervals import Estimate, bands
from stepimp.schedules.schedule import Schedule


def cost_curves(measurements: Measurements, by: str) -> dict[str, np.ndarray]:
    """model -> [times, sequences] of what running it at t costs, in nats. A schedule costs the mean
    over its steps.

    by: "path", KL(heavy || model), formula (9); "nelbo", CE, formula (10); "kl", as path, relative
    to the baseline where there is one; "chain", cross-entropy of the model under the heavy one's
    own predictions, their entropy plus KL(heavy || model); these are per token. "loss":
    |CE_L - CE_H| per sequence, formula (5).
    """
    heavy, lights, per_token = measurements.heavy, measurements.lights, measurements.per_token
    zero = {heavy: np.zeros(measurements.tokens.shape)}
    match by:
        case "path":
            return zero | {m: per_token(measurements.kl[m]) for m in lights}
        case "kl":
            return zero | {m: per_token(measurements.relative_kl(m)) for m in lights}
        case "loss":
            return zero | {m: measurements.loss_difference(m, absolute=True) for m in lights}
        case "nelbo":
            return {m: per_token(measurements.ce[m]) for m in (heavy, *lights)}
        case "chain":
            entropy = measurements.entropy
            return {heavy: per_token(entropy)} | {
                m: per_token(entropy + measurements.kl[m]) for m in lights
            }
    raise ValueError(f"unknown cost {by!r}")


def mean_curves(measurements: Measurements, by: str, seed: int) -> Means:
    """The cost curves' means over sequences, with resamples that all models and kinds of cost
    share. Raises StepimpError where nothing is masked at some t.
    """
    tokens = None if by == "loss" else measurements.tokens
    means = means_over_sequences(cost_curves(measurements, by), seed, tokens)
    if not np.isfinite([values[:, 0] for values in means.values()]).all():
        raise StepimpError(
            "At some t no sequence has a masked token: measure the curves with more or longer "
            "sequences."
        )
    return means


def step_costs(means: Means, times, steps: int) -> dict[str, np.ndarray]:
    """model -> [1 + R, steps] cost at each step, in sampling order."""
    weights = interpolation(times, steps)
    return {model: (weights @ values).T for model, values in means.items()}


def weights_of(schedule: Schedule, interpolated: np.ndarray) -> dict[str, np.ndarray]:
    """model -> [times] weight of its cost curve's values in the sum over the steps of a schedule.

    interpolated: `interpolation` for as many steps.
    """
    names, counts = zip(*schedule.segments)
    models = list(schedule.models)
    by_step = np.repeat([models.index(name) for name in names], counts)
    return {model: interpolated[by_step == m].sum(0) for m, model in enumerate(models)}


def weighted(weights: dict[str, np.ndarray], means: Means) -> np.ndarray:
    """[1 + R] sum over models and times of weight times cost."""
    first, *others = (weight @ means[model] for model, weight in weights.items())
    return sum(others, first)


def predict(
    measurements: Measurements, schedules: list[Schedule], by: str, seed: int
) -> list[dict[str, float]]:
    """Path KL (9), NELBO (10) and objective of each schedule in nats, with 95% bands, without
    sampling.
    """
    columns = {"path_kl_nats": "path", "nelbo_nats": "nelbo", "objective": by}
    means = {column: mean_curves(measurements, kind, seed) for column, kind in columns.items()}
    interpolated = {
        steps: interpolation(measurements.times, steps)
        for steps in {schedule.steps for schedule in schedules}
    }
    weights = [weights_of(schedule, interpolated[schedule.steps]) for schedule in schedules]
    rows: list[dict[str, float]] = [{} for _ in schedules]
    for column, curves in means.items():
        costs = [
            weighted(each, curves) / schedule.steps for each, schedule in zip(weights, schedules)
        ]
        for row, *ends in zip(rows, *bands(np.stack(costs))):
            row |= Estimate(*ends).columns(column)
    return rows


MOST_UNITS = 48  # that a step can save: the search for the best schedule takes memory for each


def saved_units(blocks: dict[str, int], heavy: str, save_flops: bool) -> dict[str, int]:
    """model -> what one of its steps saves: 1 if it is not heavy, or for saved FLOPs its missing
    blocks in common units. Raises StepimpError where no model is shallower than the heavy one.
    """
    if not save_flops:
        return {model: int(model != heavy) for model in blocks}
    saved = {model: max(0, blocks[heavy] - count) for model, count in blocks.items()}
    common = math.gcd(*saved.values())
    if not common:
        raise StepimpError(
            f"No light model is shallower than {heavy}: nothing can be saved. Choose another light "
            "model."
        )
    most = max(saved.values()) // common
    if most <= MOST_UNITS:
        return {model: value // common for model, value in saved.items()}
    # Costs in FLOPs have no common unit: rounded down, so that no schedule saves less than is said.
    return {model: value // common * MOST_UNITS // most for model, value in saved.items()}
