"""What an exhaustive search shows: the ranking, how much each segment matters, and how well the
curves predicted it.

Tables are [schedules, samples] in the order of `Coarse.names()`, NaN where nothing was measured. A
schedule's own intervals are those of `stepimp.intervals`; all others are bootstraps over samples
that draw the same samples for every schedule, so that differences stay paired.
"""

from dataclasses import replace

import numpy as np
from scipy import stats

from stepimp.columns import typed
from stepimp.curves.measurements import Measurements
from stepimp.curves.tables import interpolation
from stepimp.intervals import Estimate, bootstrap, ratio, resampled_means
from stepimp.schedules.costs import mean_curves, predict, weighted, weights_of
from stepimp.search.coarse import Coarse, segment_runs
from stepimp.search_rows import HeldOutRow, InfluenceRow, PredictionRow, RoundRow, SearchRow

FEWEST = 2  # sequences of a half: fewer have no interval
EXTREMES = 20  # schedules at each end of the ranking whose light segments are counted
PREDICTIONS = {
    "path_kl_nats": "predicted_path_kl_nats",
    "nelbo_nats": "predicted_nelbo_nats",
    "objective": "predicted_relative_kl_nats",
}


def predictions(measured: Measurements, coarse: Coarse, seed: int) -> list[dict]:
    """Predicted columns of each schedule: path KL (9) and NELBO (10), and with a baseline the path
    KL relative to it.
    """
    measured = replace(measured, lights=(coarse.light,))
    schedules = [coarse.schedule(name) for name in coarse.names()]
    columns = dict(PREDICTIONS)
    if not measured.baseline:
        del columns["objective"]
    rows = []
    for predicted in predict(measured, schedules, "kl", seed):
        row: dict[str, float] = {}
        for column, name in columns.items():
            row |= Estimate.of(predicted, column).columns(name)
        rows.append(row)
    return rows


def held_out_rows(measured: Measurements, coarse: Coarse, seed: int) -> list[HeldOutRow]:
    """A row per kind of prediction: every second sequence predicts, and the NELBO (10) of each
    schedule is measured on the others. Empty where these are too few for an interval.
    """
    predicting, other = halves(measured)
    if other.sequences < FEWEST:
        return []
    predicted = predictions(predicting, coarse, seed)
    nelbo = nelbos(other, coarse, seed)  # [schedules, 1 + R]
    order = stats.rankdata(nelbo[:, 0], method="ordinal")
    names, rows = coarse.names(), []
    columns, values = values_of(predicted)
    correlations = rank_correlations(values, nelbo)
    for kind, column in enumerate(columns):
        chosen, best = int(values[kind].argmin()), int(nelbo[:, 0].argmin())
        row = {
            "predicted_by": column,
            **bootstrap(correlations["spearman"][kind]).columns("spearman"),
            **bootstrap(correlations["kendall"][kind]).columns("kendall"),
            "rank": int(order[chosen]),
            "schedule": coarse.schedule(names[chosen]).format(coarse.heavy, coarse.light),
            "segments": names[chosen],
            **bootstrap(nelbo[chosen]).columns("nelbo_nats"),
            **bootstrap(nelbo[chosen] - nelbo[best]).columns("regret_nats"),
            "sequences": other.sequences,
        }
        rows.append(typed(HeldOutRow, row))
    return rows


def values_of(predicted: list[dict]) -> tuple[list[str], np.ndarray]:
    """Names of the kinds of predictions that there are, and their values [kinds, schedules]."""
    columns = [column for column in PREDICTIONS.values() if column in predicted[0]]
    return columns, np.array([[row[column] for row in predicted] for column in columns])


def halves(measured: Measurements) -> tuple[Measurements, Measurements]:
    """Measurements of every second sequence, and of the others."""

    def part(first: int) -> Measurements:
        def cut(sums: np.ndarray) -> np.ndarray:
            return sums[:, first::2]

        return replace(
            measured,
            masked=cut(measured.masked),
            entropy=cut(measured.entropy),
            ce={model: cut(sums) for model, sums in measured.ce.items()},
            kl={model: cut(sums) for model, sums in measured.kl.items()},
        )

    return part(0), part(1)


def nelbos(measured: Measurements, coarse: Coarse, seed: int) -> np.ndarray:
    """[schedules, 1 + R] NELBO (10) in nats per token, with resamples that all schedules share."""
    means = mean_curves(measured, "nelbo", seed)
    interpolated = interpolation(measured.times, coarse.steps)
    schedules = map(coarse.schedule, coarse.names())
    return np.stack(
        [
            weighted(weights_of(schedule, interpolated), means) / coarse.steps
            for schedule in schedules
        ]
    )


def results(
    coarse: Coarse, log_ppl: np.ndarray, entropy: np.ndarray, predicted: list[dict], seed: int
) -> dict:
    """The parts of the results document: rows, the ranking; influence, a row per segment;
    predictions, a row per kind; log_ppl of every sample, by name of the schedule.

    log_ppl, entropy: tables in nats; predicted: as `predictions` returns it.
    """
    rows = ranking(coarse, log_ppl, entropy, predicted)
    means = shared_means(log_ppl, entropy, seed)
    return {
        "rows": rows,
        "influence": influence_rows(coarse, means, rows),
        "predictions": prediction_rows(coarse, log_ppl, means, rows, predicted, seed),
        "log_ppl": {
            name: measured_values(values).tolist() for name, values in zip(coarse.names(), log_ppl)
        },
    }


def ranking(
    coarse: Coarse, log_ppl: np.ndarray, entropy: np.ndarray, predicted: list[dict]
) -> list[SearchRow]:
    """A row per schedule, the best first. Those that were dropped come last, in the reverse order
    of their dropping.
    """
    rows = []
    for i, name in enumerate(coarse.names()):
        gen_ppl = ratio(np.exp(measured_values(log_ppl[i])), log_scale=True)
        rows.append(
            {
                "schedule": coarse.schedule(name).format(coarse.heavy, coarse.light),
                "segments": name,
                **gen_ppl.columns("gen_ppl"),
                **ratio(measured_values(entropy[i])).columns("entropy_nats"),
                **predicted[i],
                "samples": drawn(entropy[i]),
            }
        )
    rows.sort(key=lambda row: (-row["samples"], np.nan_to_num(row["gen_ppl"], nan=np.inf)))
    return [typed(SearchRow, {"rank": rank, **row}) for rank, row in enumerate(rows, 1)]


def measured_values(values: np.ndarray) -> np.ndarray:
    """The values that are finite."""
    return values[np.isfinite(values)]


def drawn(entropy: np.ndarray) -> int:
    """Number of samples drawn; unlike a perplexity, every sample has an entropy."""
    return int(np.isfinite(entropy).sum())


def shared_means(log_ppl: np.ndarray, entropy: np.ndarray, seed: int) -> np.ndarray:
    """[schedules, 1 + R] mean gen-PPL over the samples that all schedules have, and its
    resamples.
    """
    return resampled_means(np.exp(log_ppl[:, : min(map(drawn, entropy))]), seed)


def influence(means: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Formula (8), [segments, ...]: mean gen-PPL of the schedules light in a segment, minus the
    mean over all.

    means: [schedules, ...] gen-PPL; light: [schedules, segments].
    """
    return (light.T @ means) / light.sum(0)[:, None] - means.mean(0)


def influence_rows(coarse: Coarse, means: np.ndarray, rows: list[SearchRow]) -> list[InfluenceRow]:
    """A row per segment, the start of sampling first: its influence, and how often the `extremes`
    schedules at each end of the ranking are light there.
    """
    ends = min(EXTREMES, len(rows) // 2)
    top, bottom = rows[:ends], rows[len(rows) - ends :]
    influences = influence(means, coarse.is_light())
    times = [1 - edge / coarse.steps for edge in coarse.edges]
    segments = []
    for j in range(coarse.segments):
        row = {
            "segment": j + 1,
            "t_from": times[j],
            "t_to": times[j + 1],
            **bootstrap(influences[j]).columns("influence_ppl"),
            "extremes": ends,
            "light_in_top": light_share(top, j),
            "light_in_bottom": light_share(bottom, j),
        }
        segments.append(typed(InfluenceRow, row))
    return segments


def light_share(rows: list[SearchRow], segment: int) -> float:
    """Share of these schedules that are light in a segment, counted from 0."""
    return sum(row["segments"][segment] == "L" for row in rows) / len(rows)


def rank_correlations(predicted: np.ndarray, means: np.ndarray) -> dict[str, np.ndarray]:
    """Spearman's rho and Kendall's tau, [kinds, 1 + R] each, between each kind of prediction
    [kinds, schedules] and each column of means [schedules, 1 + R].
    """
    x, y = (stats.rankdata(values, axis=1) for values in (predicted, means.T))
    return {"spearman": spearman(x, y), "kendall": kendall(x, y)}


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[P, R] correlation of each row of ranks x [P, n] with each row of ranks y [R, n]; NaN where
    all ranks of a row are equal.
    """
    x, y = (ranks - (ranks.shape[1] + 1) / 2 for ranks in (x, y))
    norms = (np.sqrt((ranks**2).sum(1)) for ranks in (x, y))
    with np.errstate(invalid="ignore"):
        return x @ y.T / np.outer(*norms)


def kendall(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[P, R] Kendall's tau-b of each row of ranks x [P, n] with each row of ranks y [R, n]; NaN
    where all ranks of a row are equal.

    The sum over pairs of sign(x_i - x_j) sign(y_i - y_j), divided by the roots of the numbers of
    pairs that differ in x and in y. `scipy.stats.kendalltau` takes a pair of rows at a time, which
    is slower up to a thousand ranks.
    """
    x, y = x.T.astype(np.float32), y.T.astype(np.float32)
    agreeing = np.zeros((x.shape[1], y.shape[1]))
    differ_x, differ_y = np.zeros((x.shape[1], 1)), np.zeros(y.shape[1])
    for i in range(1, len(x)):
        signs_x, signs_y = np.sign(x[i] - x[:i]), np.sign(y[i] - y[:i])
        agreeing += signs_x.T @ signs_y
        differ_x += np.abs(signs_x).sum(0)[:, None]
        differ_y += np.abs(signs_y).sum(0)
    with np.errstate(invalid="ignore"):
        return np.clip(agreeing / np.sqrt(differ_x) / np.sqrt(differ_y), -1, 1)


def prediction_rows(
    coarse: Coarse,
    log_ppl: np.ndarray,
    means: np.ndarray,
    rows: list[SearchRow],
    predicted: list[dict],
    seed: int,
) -> list[PredictionRow]:
    """A row per kind of prediction: its correlations with the measured gen-PPL, the schedule it
    would choose, and `regret_ppl`, how much higher the gen-PPL of that one is than that of the best
    schedule, on the samples that both have.
    """
    names, by_name = coarse.names(), {row["segments"]: row for row in rows}
    best = names.index(rows[0]["segments"])
    columns, values = values_of(predicted)
    correlations = rank_correlations(values, means)
    scored = []
    for kind, column in enumerate(columns):
        chosen = int(values[kind].argmin())
        regret = resampled_means(np.exp(log_ppl[chosen]) - np.exp(log_ppl[best])[None], seed)[0]
        ranked = by_name[names[chosen]]
        row = {
            "predicted_by": column,
            **bootstrap(correlations["spearman"][kind]).columns("spearman"),
            **bootstrap(correlations["kendall"][kind]).columns("kendall"),
            **{key: ranked[key] for key in ("rank", "schedule", "segments", "gen_ppl")},
            **bootstrap(regret).columns("regret_ppl"),
        }
        scored.append(typed(PredictionRow, row))
    return scored


def elimination_rounds(coarse: Coarse, entropy: np.ndarray, chunk: int) -> dict:
    """rounds: schedules still running and the segments they took, by chunk of samples; saved: the
    share of all segments that did not run.
    """
    names, counts, rounds = coarse.names(), [drawn(row) for row in entropy], []
    samples = entropy.shape[1]
    for start in range(0, samples, chunk):
        running = [name for name, count in zip(names, counts) if count > start]
        row = {
            "samples": min(chunk, samples - start),
            "schedules": len(running),
            "segment_runs": segment_runs(running),
        }
        rounds.append(typed(RoundRow, row))
    segments_run = sum(row["samples"] * row["segment_runs"] for row in rounds)
    return {"rounds": rounds, "saved": 1 - segments_run / (samples * segment_runs(names))}
