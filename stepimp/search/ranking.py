"""What an exhaustive search says: the ranking, what each segment matters, and how well the curves
foresaw it.

Tables are [schedules, samples] in the order of `Coarse.names()`, NaN where nothing was measured. A
schedule's own intervals are those of `stepimp.intervals`; all others are bootstraps over samples
that draw the same samples for every schedule, so that differences stay paired."""

from dataclasses import replace

import numpy as np
from scipy import stats

from stepimp.curves.measurements import Measurements
from stepimp.intervals import Estimate, bootstrap, ratio, resampled_means
from stepimp.schedules.costs import predict
from stepimp.search.exhaustive import Coarse, segment_runs

EXTREMES = 20  # schedules at each end whose light segments are counted
PREDICTIONS = {
    "path_kl_nats": "predicted_path_kl_nats",
    "nelbo_nats": "predicted_nelbo_nats",
    "objective": "predicted_relative_kl_nats",
}


def predictions(measured: Measurements, coarse: Coarse, seed: int) -> list[dict]:
    """Path KL (9) and NELBO (10) of each schedule with bands, and with a baseline the path KL
    relative to it.
    """
    measured = replace(measured, lights=(coarse.light,))
    schedules = [coarse.schedule(name) for name in coarse.names()]
    known = {
        old: new for old, new in PREDICTIONS.items() if old != "objective" or measured.baseline
    }
    return [
        {
            column: value
            for old, new in known.items()
            for column, value in Estimate.of(row, old).columns(new).items()
        }
        for row in predict(measured, schedules, "kl", seed)
    ]


def results(coarse: Coarse, log_ppl, entropy, predicted: list[dict], seed: int) -> dict:
    """rows: the ranking; influence: a row per segment; predictions: a row per kind; log_ppl: of
    every sample.
    """
    rows = ranking(coarse, log_ppl, entropy, predicted)
    means = shared_means(log_ppl, entropy, seed)
    return {
        "rows": rows,
        "influence": influence_rows(coarse, means, rows),
        "predictions": prediction_rows(coarse, log_ppl, means, rows, predicted, seed),
        "log_ppl": {name: present(own).tolist() for name, own in zip(coarse.names(), log_ppl)},
    }


def ranking(coarse: Coarse, log_ppl, entropy, predicted: list[dict]) -> list[dict]:
    """A row per schedule, the best first; those dropped by a race after those that were not, the
    last dropped first.
    """
    rows = [
        {"schedule": coarse.schedule(name).format(coarse.heavy, coarse.light), "segments": name}
        | ratio(np.exp(present(log_ppl[i])), log_scale=True).columns("gen_ppl")
        | ratio(present(entropy[i])).columns("entropy_nats")
        | predicted[i]
        | {"samples": drawn(entropy[i])}
        for i, name in enumerate(coarse.names())
    ]
    rows.sort(key=lambda row: (-row["samples"], np.nan_to_num(row["gen_ppl"], nan=np.inf)))
    return [{"rank": i + 1, **row} for i, row in enumerate(rows)]


def present(values: np.ndarray) -> np.ndarray:
    """Those that were measured."""
    return values[np.isfinite(values)]


def drawn(entropy: np.ndarray) -> int:
    """How many samples there are; unlike a perplexity, every sample has an entropy."""
    return int(np.isfinite(entropy).sum())


def shared_means(log_ppl, entropy, seed: int) -> np.ndarray:
    """[schedules, 1 + R] mean gen-PPL over the samples that all schedules have: without a race all
    of them.
    """
    return resampled_means(np.exp(log_ppl[:, : min(map(drawn, entropy))]), seed)


def is_light(coarse: Coarse) -> np.ndarray:
    """[schedules, segments] whether a schedule is light there."""
    return np.array([[letter == "L" for letter in name] for name in coarse.names()])


def influence(means: np.ndarray, light: np.ndarray) -> np.ndarray:
    """[segments, ...] formula (8): mean gen-PPL of the schedules light in a segment, minus the mean
    over all.

    means: [schedules, ...] gen-PPL; light: [schedules, segments].
    """
    return (light.T @ means) / light.sum(0)[:, None] - means.mean(0)


def influence_rows(coarse: Coarse, means: np.ndarray, rows: list[dict]) -> list[dict]:
    """A row per segment, the start of sampling first: its influence, and how often the schedules at
    both ends of the ranking, `extremes` at each, are light there."""
    ends = min(EXTREMES, len(rows) // 2)
    top, bottom = rows[:ends], rows[len(rows) - ends :]
    found = influence(means, is_light(coarse))
    times = [1 - edge / coarse.steps for edge in coarse.edges]
    return [
        {"segment": j + 1, "t_from": times[j], "t_to": times[j + 1]}
        | bootstrap(found[j]).columns("influence_ppl")
        | {
            "extremes": ends,
            "light_in_top": light_share(top, j),
            "light_in_bottom": light_share(bottom, j),
        }
        for j in range(coarse.segments)
    ]


def light_share(rows: list[dict], segment: int) -> float:
    """Share of these schedules that are light in a segment."""
    return sum(row["segments"][segment] == "L" for row in rows) / len(rows)


def rank_correlations(predicted: np.ndarray, means: np.ndarray) -> dict[str, np.ndarray]:
    """Spearman's rho and Kendall's tau between a prediction [schedules] and each column of means
    [schedules, 1 + R].
    """
    ranks = np.stack([predicted, *means.T])
    ranks = stats.rankdata(ranks, axis=1) - (len(predicted) + 1) / 2
    norms = np.sqrt((ranks**2).sum(1))
    with np.errstate(invalid="ignore"):  # where all schedules are alike there is no correlation
        rho = ranks[1:] @ ranks[0] / (norms[1:] * norms[0])
    tau = np.array([stats.kendalltau(predicted, column).statistic for column in means.T])
    return {"spearman": rho, "kendall": tau}


def prediction_rows(
    coarse: Coarse, log_ppl, means: np.ndarray, rows: list[dict], predicted: list[dict], seed: int
):
    """For each kind of prediction a row: its correlations with the measured gen-PPL, the schedule
    it would choose, and how much higher the gen-PPL of that one is than that of the best found, on
    the samples both have (`regret_ppl`)."""
    order = {row["segments"]: row for row in rows}
    names = coarse.names()
    best = names.index(rows[0]["segments"])
    found = []
    for column in (name for name in PREDICTIONS.values() if name in predicted[0]):
        values = np.array([one[column] for one in predicted])
        chosen = int(values.argmin())
        regret = resampled_means(np.exp(log_ppl[chosen]) - np.exp(log_ppl[best])[None], seed)[0]
        row: dict = {"predicted_by": column}
        for name, correlation in rank_correlations(values, means).items():
            row |= bootstrap(correlation).columns(name)
        row |= {
            key: order[names[chosen]][key] for key in ("rank", "schedule", "segments", "gen_ppl")
        }
        found.append(row | bootstrap(regret).columns("regret_ppl"))
    return found


def race_rounds(coarse: Coarse, entropy: np.ndarray, chunk: int) -> dict:
    """What a race saved. rounds: schedules still running and the segments they took, by chunk of
    samples.
    """
    counts, rounds = [drawn(own) for own in entropy], []
    for start in range(0, entropy.shape[1], chunk):
        running = [name for name, count in zip(coarse.names(), counts) if count > start]
        size = min(chunk, entropy.shape[1] - start)
        rounds.append(
            {"samples": size, "schedules": len(running), "segment_runs": segment_runs(running)}
        )
    made = sum(one["samples"] * one["segment_runs"] for one in rounds)
    return {"rounds": rounds, "saved": 1 - made / (entropy.shape[1] * segment_runs(coarse.names()))}
