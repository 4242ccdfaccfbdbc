"""The rows of a search's document. `stepimp.rows` says how a column is declared."""

from typing import Annotated, NotRequired, TypedDict

from stepimp.predicted_rows import INTERVAL, Notation, Samples


class SearchRow(TypedDict):
    """One coarse schedule of the ranking, and what the curves predicted of it."""

    rank: Annotated[int, "1 for the lowest gen-PPL"]
    schedule: Notation
    segments: Annotated[str, "H or L for each segment, the start of sampling first"]
    gen_ppl: Annotated[float, INTERVAL, "mean over samples of the perplexity under the judge"]
    entropy_nats: Annotated[float, INTERVAL, "nats: entropy of the token frequencies in a sample"]
    predicted_path_kl_nats: Annotated[float, INTERVAL, "nats per token: path KL (9)"]
    predicted_nelbo_nats: Annotated[float, INTERVAL, "nats per token: NELBO (10)"]
    predicted_relative_kl_nats: NotRequired[
        Annotated[float, INTERVAL, "nats per token: path KL minus the baseline's"]
    ]
    samples: Samples


class InfluenceRow(TypedDict):
    """Influence (8) of one segment."""

    segment: Annotated[int, "1 at the start of sampling"]
    t_from: Annotated[float, "time at which it begins"]
    t_to: Annotated[float, "time at which it ends"]
    influence_ppl: Annotated[
        float, INTERVAL, "gen-PPL of the schedules that are light there, minus that of all"
    ]
    extremes: Annotated[int, "schedules counted at each end of the ranking"]
    light_in_top: Annotated[float, "share of the best schedules that are light there"]
    light_in_bottom: Annotated[float, "share of the worst schedules that are light there"]


class PredictionRow(TypedDict):
    """How well one prediction foresaw the measured ranking."""

    predicted_by: Annotated[str, "column of the ranking that predicts"]
    spearman: Annotated[float | None, INTERVAL, "Spearman's rank correlation with gen-PPL"]
    kendall: Annotated[float | None, INTERVAL, "Kendall's rank correlation with gen-PPL"]
    rank: Annotated[int, "measured rank of the schedule it would choose"]
    schedule: Notation
    segments: Annotated[str, "H or L for each segment of that schedule"]
    gen_ppl: Annotated[float | None, "its mean perplexity under the judge"]
    regret_ppl: Annotated[float | None, INTERVAL, "its gen-PPL above that of the best schedule"]


class HeldOutRow(TypedDict):
    """How well one prediction from half of the sequences ranks the schedules by their NELBO (10)
    on the other half, which has none of the noise of samples and of a judge.
    """

    predicted_by: Annotated[str, "what predicts: a column of the ranking"]
    spearman: Annotated[float | None, INTERVAL, "Spearman's rank correlation with the NELBO"]
    kendall: Annotated[float | None, INTERVAL, "Kendall's rank correlation with the NELBO"]
    rank: Annotated[int, "rank by that NELBO of the schedule it would choose"]
    schedule: Notation
    segments: Annotated[str, "H or L for each segment of that schedule"]
    nelbo_nats: Annotated[float, INTERVAL, "nats per token: its NELBO on the other half"]
    regret_nats: Annotated[float | None, INTERVAL, "nats per token: paired, minus the least NELBO"]
    sequences: Annotated[int, "sequences of the other half"]


class RoundRow(TypedDict):
    """One chunk of samples of a search that drops schedules."""

    samples: Annotated[int, "samples of the chunk"]
    schedules: Annotated[int, "schedules still running"]
    segment_runs: Annotated[int, "segments that were run for them"]
