"""Whether a prediction means something: sample with a few schedules and hold what comes out against the path KL."""

import numpy as np
import torch

from stepimp.bootstrap import resampled_means, with_band
from stepimp.curves import Kept, measure, time_grid
from stepimp.evaluation import unigram_entropy
from stepimp.inputs import TextInputs
from stepimp.measurements import Measurements
from stepimp.recommend import QUARTERS
from stepimp.sampler import sample
from stepimp.schedule import Schedule

JUDGE_TIMES = 20  # t values of the judge's NELBO
DRAWN_TOGETHER = 64  # samples that go into the journal at once


def schedules_to_verify(rows: list[dict]) -> list[dict]:
    """Of the rows of `recommend`: the recommendation, the sandwich if any, the worst quarter and all-heavy."""
    worst = max((row for row in rows if row["name"] in QUARTERS), key=lambda row: row["objective"])
    return [row for row in rows if row["name"] in ("recommended", "sandwich", worst["name"], "all-heavy")]


def draw_samples(denoisers: dict, schedule: Schedule, samples: int, length: int, seed: int, journal, batch_size: int):
    """[samples, length] tokens; finished ones are kept in the journal and not drawn again."""
    drawn = []
    for start in range(0, samples, DRAWN_TOGETHER):
        indices = range(start, min(start + DRAWN_TOGETHER, samples))
        unit = f"{schedule.format()}:{indices.start}:{indices.stop}"
        if unit not in journal.done:
            journal.add(unit, sample(denoisers, schedule, indices, length, seed=seed, batch_size=batch_size).tolist())
        drawn += journal.done[unit]
    return np.array(drawn)


def judge(denoiser, tokens: np.ndarray, seed: int, batch_size: int) -> Measurements:
    """The judge's cross-entropies on the samples. Sample i is corrupted alike in every call."""
    inputs = TextInputs(torch.as_tensor(tokens), seed, denoiser.noise)
    return measure({"judge": denoiser}, "judge", (), None, inputs, time_grid(JUDGE_TIMES), seed, batch_size=batch_size)


def nelbo(found: Measurements, seed: int) -> np.ndarray:
    """[1 + R] the judge's NELBO by formula (10) in nats per token, with resamples of the samples."""
    return resampled_means(found.per_token(found.ce["judge"]), seed, found.tokens).mean(0)


def verify(denoisers: dict, schedules: dict[str, Schedule], reference: str, judge_name: str, samples: int, length: int, *,
           seed: int, journal=None, batch_size=16, progress=lambda done, total: None) -> list[dict]:  # fmt: skip
    """Samples with each schedule under common random numbers and measures the text.

    schedules: by name, `reference` among them. Returns a row per schedule with 95% bands by bootstrap over samples:
    judge_nelbo_nats and entropy_nats, and the paired differences of both to the reference's text, _diff_nats.
    """
    journal, means = journal or Kept(), {}
    for done, (name, schedule) in enumerate(schedules.items()):
        tokens = draw_samples(denoisers, schedule, samples, length, seed, journal, batch_size)
        judged = nelbo(judge(denoisers[judge_name], tokens, seed, batch_size), seed)
        entropy = resampled_means(unigram_entropy(tokens)[None], seed)[0]
        means[name] = {"judge_nelbo": judged, "entropy": entropy}
        progress(done + 1, len(schedules))
    rows = []
    for name, own in means.items():
        row = {"name": name, "samples": samples}
        for statistic, values in own.items():  # all resamples are of the same samples: their differences are paired
            row |= with_band(f"{statistic}_nats", values)
            row |= with_band(f"{statistic}_diff_nats", values - means[reference][statistic])
        rows.append(row)
    return rows
