"""Statistics of several schedules' samples, which are paired by their index."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from stepimp.columns import typed
from stepimp.intervals import Estimate, ratio
from stepimp.quality.candidates import Candidate
from stepimp.quality.evaluation import quality_columns
from stepimp.quality.judge import Judge
from stepimp.quality.paired_samples import Drawn, Sampled, Setting, unit
from stepimp.quality.samples_file import split_prefix
from stepimp.quality.scoring import Scores, score, unigram_entropy, unscorable
from stepimp.rows import CompareRow, PairRow
from stepimp.schedules.passes import expected_passes
from stepimp.schedules.schedule import Schedule, is_over_steps, parse


@dataclass(frozen=True)
class ScoredSamples:
    """A schedule's samples in numbers."""

    scores: Scores
    entropy: np.ndarray
    """[samples] unigram entropy in nats."""
    seconds: np.ndarray
    """[turns] time to draw each batch."""
    sizes: np.ndarray
    """[turns] samples in each batch."""
    stamps: list[str]
    """[turns] the run that drew and timed each batch."""
    flops: float
    """FLOPs of all samples."""
    empty: int
    """Samples whose text has nothing to score."""
    file: str
    """Name of the file that holds the samples."""


def score_samples(setting: Setting, drawn: Drawn, judge: Judge) -> ScoredSamples:
    """Scores a schedule's samples and sums up their cost."""
    turns = [drawn.turns[unit(turn)] for turn in setting.turns]
    texts = [text for turn in turns for text in turn["text"]]
    prefixes = [""] * len(texts)
    if setting.prefixes is not None:
        decoded = setting.family.tokenizer.batch_decode(setting.prefixes)
        split = [split_prefix(whole, prefix) for whole, prefix in zip(texts, decoded)]
        prefixes, texts = map(list, zip(*split))
    scores = score(judge, texts, prefixes)
    return ScoredSamples(
        scores=scores,
        entropy=unigram_entropy([tokens for turn in turns for tokens in turn["tokens"]]),
        seconds=np.array([turn["seconds"] for turn in turns]),
        sizes=np.array([len(turn) for turn in setting.turns]),
        stamps=[turn["run"] for turn in turns],
        flops=sum(turn["flops"] for turn in turns),
        empty=unscorable(scores, judge),
        file=drawn.file.name,
    )


def compare_row(
    candidate: Candidate, setting: Setting, samples: ScoredSamples, heavy: ScoredSamples
) -> CompareRow:
    """One schedule of a comparison. heavy: the samples of the all-heavy schedule.

    Each statistic has its 95% interval over samples, `seconds` over batches. log_ppl_diff and
    entropy_diff_nats are means of the paired differences to all-heavy. saved_seconds is 1 -
    seconds / seconds of all-heavy over the batches that both drew in the same run, NaN if there are
    none.
    """
    row = {
        **schedule_columns(candidate, setting),
        "saved_flops_exact": 1 - samples.flops / heavy.flops,
        **quality_columns(samples.scores, samples.entropy),
        **ratio(samples.scores.log_ppl - heavy.scores.log_ppl).columns("log_ppl_diff"),
        **ratio(samples.entropy - heavy.entropy).columns("entropy_diff_nats"),
        **total_seconds(samples).columns("seconds"),
        **saved_seconds(samples, heavy).columns("saved_seconds"),
        "empty": samples.empty,
        "samples_file": samples.file,
    }
    return typed(CompareRow, row)


def schedule_columns(candidate: Candidate, setting: Setting) -> dict:
    """Columns that need no sample. The notation is H and L if these are its models, else by
    name.
    """
    schedule, blocks, heavy = candidate.schedule, setting.family.blocks, setting.heavy
    passes = expected_passes(schedule, setting.masked, candidate.steps)
    all_heavy = expected_passes(Schedule.of([heavy] * setting.steps), setting.masked)[heavy]
    spent = sum(blocks[model] * count for model, count in passes.items())
    return {
        "name": candidate.name,
        "schedule": schedule.format(setting.heavy, candidate.light),
        "light": candidate.light,
        "light_fraction": 1 - passes.get(heavy, 0.0) / sum(passes.values()),
        "saved_flops": 1 - spent / (blocks[heavy] * all_heavy),
    }


def total_seconds(samples: ScoredSamples) -> Estimate:
    """Seconds to draw all samples, with the interval over batches."""
    per_sample = ratio(samples.seconds, samples.sizes, log_scale=True)
    return per_sample.scaled(samples.sizes.sum())


def saved_seconds(samples: ScoredSamples, heavy: ScoredSamples) -> Estimate:
    """Share of all-heavy's seconds that is saved, over the batches that both drew in one run."""
    same_run = np.array([a == b for a, b in zip(samples.stamps, heavy.stamps)])
    if not same_run.any():
        return Estimate(np.nan)
    share = ratio(samples.seconds[same_run], heavy.seconds[same_run])
    return Estimate(1 - share.value, 1 - share.high, 1 - share.low)


def placement_pairs(
    rows: list[CompareRow], per_sample: dict[str, dict], heavy: str
) -> list[PairRow]:
    """Which placement of the light steps is better: all pairs of schedules that have equally many
    steps of the same light model.

    rows, per_sample: as `comparison.compare` returns them. A pair has the schedules `better` and
    `worse`, their names, and the mean paired difference in log-PPL; the largest difference comes
    first. All intervals hold jointly at 95% (Bonferroni).
    """
    groups: dict[tuple[str | None, int], dict[str, CompareRow]] = {}
    for row in rows:
        if not is_over_steps(row["schedule"]):
            continue
        schedule = parse(row["schedule"], heavy, row["light"])
        if len(schedule.models) > 1:
            light_steps = (row["light"], round(row["light_fraction"] * schedule.steps))
            groups.setdefault(light_steps, {})[schedule.format()] = row
    pairs = [
        (light, group, pair)
        for (light, _), group in groups.items()
        for pair in combinations(group, 2)
    ]
    pair_rows = []
    for light, group, pair in pairs:
        log_ppl = {key: np.array(per_sample[key]["log_ppl"]) for key in pair}
        better, worse = sorted(pair, key=lambda key: log_ppl[key].mean())
        difference = ratio(log_ppl[worse] - log_ppl[better], jointly=len(pairs))
        cells = {
            "light": light,
            "better": group[better]["schedule"],
            "better_name": group[better]["name"],
            "worse": group[worse]["schedule"],
            "worse_name": group[worse]["name"],
            **difference.columns("log_ppl_diff"),
        }
        pair_rows.append(typed(PairRow, cells))
    return sorted(pair_rows, key=lambda row: -row["log_ppl_diff"])


def per_sample_columns(samples: dict[Sampled, ScoredSamples]) -> dict[str, dict]:
    """log_ppl and entropy_nats of every sample, by schedule in its notation by name, with its
    sampler where that is not ancestral.
    """
    return {
        sampled.schedule.format() + (", first-hitting" if sampled.first_hitting else ""): {
            "log_ppl": scored.scores.log_ppl.tolist(),
            "entropy_nats": scored.entropy.tolist(),
        }
        for sampled, scored in samples.items()
    }
