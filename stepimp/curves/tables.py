"""From measurements to the rows of a curves document.

All bands are percentile bootstraps over sequences that resample all times and models together.
"""

from collections.abc import Callable

import numpy as np

from stepimp.columns import Row, typed
from stepimp.curves.measurements import Measurements
from stepimp.intervals import Estimate, bands, bootstrap, resampled_means
from stepimp.rows import CurveRow, KlRow, LossRow, NelboRow

Curves = dict[str, Callable[[str], np.ndarray]]
"""Statistic -> function of a model that gives [times, sequences]."""
Means = dict[str, np.ndarray]
"""Model -> [times, 1 + R]: a curve's mean over sequences, then that of each bootstrap resample."""


def widest_band(measurements: Measurements, seed: int) -> float:
    """Half the width, in nats, of the widest 95% band of the relative KL over times and light
    models.
    """
    values = np.concatenate(
        [
            measurements.per_sequence(measurements.relative_kl(model))
            for model in measurements.lights
        ]
    )
    _, low, high = bands(resampled_means(values, seed))
    return float(np.nan_to_num(high - low, nan=np.inf).max() / 2)


def rows_with_bands(
    row_type: type[Row], measurements: Measurements, curves: Curves, seed: int
) -> list[Row]:
    """One row per light model and time."""
    lights, times, counts = measurements.lights, measurements.times, measurements.counts
    stacked = np.concatenate([curves[name](model) for model in lights for name in curves])
    shape = (len(lights), len(curves), len(times))
    ends = [np.reshape(end, shape) for end in bands(resampled_means(stacked, seed))]
    counted = (measurements.masked > 0).any(-1).sum(-1)
    rows: list[Row] = []
    for m, model in enumerate(lights):
        for i, t in enumerate(times):
            row = {"t": float(t), "model": model}
            if counts is not None:
                row["masked"] = int(counts[i])
            for c, name in enumerate(curves):
                row |= Estimate(*(end[m, c, i] for end in ends)).columns(name)
            rows.append(typed(row_type, row | {"sequences": int(counted[i])}))
    return rows


def loss_rows(measurements: Measurements, seed: int) -> list[LossRow]:
    """Formula (5), absolute and signed, and both cross-entropies."""
    heavy_ce = measurements.per_sequence(measurements.ce[measurements.heavy])
    curves: Curves = {
        "loss_abs_diff_nats": lambda model: measurements.loss_difference(model, absolute=True),
        "loss_diff_nats": lambda model: measurements.loss_difference(model, absolute=False),
        "ce_nats": lambda model: measurements.per_sequence(measurements.ce[model]),
        "ce_heavy_nats": lambda model: heavy_ce,
    }
    return rows_with_bands(LossRow, measurements, curves, seed)


def kl_rows(measurements: Measurements, seed: int) -> list[KlRow]:
    """Formula (6), raw, baseline and relative. Without a baseline only the raw KL."""
    kl, per_sequence = measurements.kl, measurements.per_sequence
    curves: Curves = {"kl_nats": lambda model: per_sequence(kl[model])}
    if measurements.baseline:
        baseline = per_sequence(kl[measurements.baseline])
        curves["baseline_kl_nats"] = lambda model: baseline
        curves["relative_kl_nats"] = lambda model: per_sequence(measurements.relative_kl(model))
    return rows_with_bands(KlRow, measurements, curves, seed)


def curve_rows(measurements: Measurements, seed: int) -> list[CurveRow]:
    """Both views of each model and time in one row."""
    both = zip(kl_rows(measurements, seed), loss_rows(measurements, seed))
    return [typed(CurveRow, kl | loss) for kl, loss in both]


def interpolation(times: np.ndarray, steps: int) -> np.ndarray:
    """[steps, len(times)] weights that carry a curve from its times to t_i = i/T, linearly;
    constant below the first. Step T comes first.
    """
    t = np.arange(steps, 0, -1) / steps
    return np.stack([np.interp(t, times, unit) for unit in np.eye(len(times))], axis=1)


def means_over_sequences(
    curves: dict[str, np.ndarray], seed: int, tokens: np.ndarray | None
) -> Means:
    """Means with resamples that all curves share. curves: model -> [times, sequences] of nats.

    tokens: [times, sequences], the weights of the sequences; None weighs all alike.
    """
    weights = None if tokens is None else np.concatenate([tokens] * len(curves))
    means = resampled_means(np.concatenate(list(curves.values())), seed, weights)
    return dict(zip(curves, np.split(means, len(curves))))


def nelbo_rows(
    measurements: Measurements, blocks: dict[str, int], seed: int, steps: int = 1000
) -> list[NelboRow]:
    """NELBO (10) of each model alone, the baseline's too, shallowest first.

    Beside it the paired differences, on the same inputs: to the heavy model, and to the next deeper
    one. NaN where at some t no sequence has a masked token. steps: T; curves over n are summed over
    all n, which is the NELBO of sampling one token at a time.
    """
    steps = measurements.maskable or steps
    curves = {model: measurements.per_token(ce) for model, ce in measurements.ce.items()}
    means = means_over_sequences(curves, seed, measurements.tokens)
    weights = interpolation(measurements.times, steps).sum(0)
    nelbo = {model: weights @ values / steps for model, values in means.items()}
    rows = []
    for model in sorted(nelbo, key=lambda name: (blocks[name], name != measurements.heavy)):
        deeper = min(
            (
                name
                for name in nelbo
                if blocks[name] > blocks[model] and name != measurements.baseline
            ),
            key=lambda name: blocks[name],
            default=None,
        )
        row = {"model": model, "deeper": deeper} | bootstrap(nelbo[model]).columns("nelbo_nats")
        row |= bootstrap(nelbo[model] - nelbo[measurements.heavy]).columns("nelbo_diff_nats")
        if deeper:
            row |= bootstrap(nelbo[model] - nelbo[deeper]).columns("deeper_diff_nats")
        rows.append(typed(NelboRow, row))
    return rows
