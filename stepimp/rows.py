"""The rows of every results document: each column with its type, unit and meaning.

A column marked INTERVAL stands for three: the statistic `x` and the ends `x_low` and `x_high` of
its 95% interval (`stepimp.intervals.Estimate` reads and writes them). An end that could not be
measured is null in the document; a value is null only where its type says `| None`. `PARTS` names
the row types of each document; `stepimp.columns` lists what is declared here.
"""

from typing import Annotated, Literal, NotRequired, TypedDict

from stepimp.predicted_rows import (
    INTERVAL,
    BoundaryRow,
    FixedRow,
    MaskedRow,
    MaskedTradeoffRow,
    Notation,
    PlanRow,
    Predictions,
    RecommendRow,
    Samples,
    ScheduleRow,
    TradeoffRow,
)
from stepimp.search_rows import HeldOutRow, InfluenceRow, PredictionRow, RoundRow, SearchRow

Objective = Literal["kl", "loss", "nelbo"]
"""What `recommend` minimises: the costs of `stepimp.schedules.costs.cost_curves` that it takes."""

Time = Annotated[float, "time of the corruption: 1 is fully masked (start of sampling), 0 clean"]
Model = Annotated[str, "model, by its name in the family"]
Masked = Annotated[int, "exact number of masked positions, only of curves over it: t x positions"]


class KlRow(TypedDict):
    """View `kl` of the curves: formula (6) for one light model at one time."""

    t: Time
    masked: NotRequired[Masked]
    model: Model
    kl_nats: Annotated[float | None, INTERVAL, "nats per masked token: KL(heavy || model)"]
    baseline_kl_nats: NotRequired[
        Annotated[
            float | None, INTERVAL, "nats per masked token: KL(heavy || heavy of another seed)"
        ]
    ]
    relative_kl_nats: NotRequired[
        Annotated[float | None, INTERVAL, "nats per masked token: kl_nats - baseline_kl_nats"]
    ]
    sequences: Annotated[int, "sequences with a masked token at this time"]


class LossRow(TypedDict):
    """View `loss` of the curves: formula (5) for one light model at one time."""

    t: Time
    masked: NotRequired[Masked]
    model: Model
    loss_abs_diff_nats: Annotated[
        float | None, INTERVAL, "nats: mean over sequences of |CE_model - CE_heavy|"
    ]
    loss_diff_nats: Annotated[
        float | None, INTERVAL, "nats: mean over sequences of CE_model - CE_heavy"
    ]
    ce_nats: Annotated[
        float | None, INTERVAL, "nats per masked token: cross-entropy of the model (4)"
    ]
    ce_heavy_nats: Annotated[
        float | None, INTERVAL, "nats per masked token: that of the heavy model"
    ]
    sequences: Annotated[int, "sequences with a masked token at this time"]


class CurveRow(KlRow, LossRow):
    """One light model at one time: both views."""


class NelboRow(TypedDict):
    """NELBO (10) of one model that runs at every step; the baseline's too."""

    model: Model
    deeper: Annotated[str | None, "the next deeper model, null for the deepest"]
    nelbo_nats: Annotated[float | None, INTERVAL, "nats per token"]
    nelbo_diff_nats: Annotated[
        float | None, INTERVAL, "nats per token: paired, minus the heavy model's"
    ]
    deeper_diff_nats: NotRequired[
        Annotated[float | None, INTERVAL, "nats per token: paired, minus the next deeper model's"]
    ]


class Quality(TypedDict):
    """Quality of generated text under a judge."""

    gen_ppl: Annotated[float, INTERVAL, "mean over samples of the perplexity under the judge"]
    corpus_ppl: Annotated[float, INTERVAL, "perplexity of all tokens together under the judge"]
    entropy_nats: Annotated[float, INTERVAL, "nats: entropy of the token frequencies in a sample"]
    samples: Samples
    empty: Annotated[int, "samples with nothing to score, which count as one token of p = 1/V"]


class EvaluateRow(Quality):
    """A file of samples under a judge."""

    schedule: Annotated[str | None, "what the samples were drawn with, null where unknown"]
    judge: Annotated[str, "judge language model"]
    entropy_of: Annotated[str, "tokens of the entropy: samples' tokens or judge's tokens"]


class CompareRow(ScheduleRow, Quality):
    """One schedule of a comparison; differences are paired with all-heavy, sample by sample."""

    light: Annotated[str | None, "the light model L stands for, null for all-heavy"]
    saved_flops_exact: Annotated[float, "share of FLOPs saved, counting all that ran"]
    log_ppl_diff: Annotated[float, INTERVAL, "nats per token: mean log-perplexity above all-heavy"]
    entropy_diff_nats: Annotated[float, INTERVAL, "nats: entropy above all-heavy"]
    seconds: Annotated[float, INTERVAL, "seconds of sampling for all samples"]
    saved_seconds: Annotated[
        float | None, INTERVAL, "share of all-heavy's seconds, timed in the same run"
    ]
    samples_file: Annotated[str, "file that keeps the samples"]


class VerificationRow(CompareRow, Predictions):
    """One schedule of a recommendation, sampled, beside its prediction."""

    judge: Annotated[str, "judge language model"]


class PairRow(TypedDict):
    """Two placements of as many light steps, and whether one is better."""

    light: Annotated[str, "the light model"]
    better: Notation
    better_name: Annotated[str, "name of the schedule with the lower log-perplexity"]
    worse: Notation
    worse_name: Annotated[str, "name of the other"]
    log_ppl_diff: Annotated[
        float, INTERVAL, "nats per token: worse - better, paired; all intervals hold jointly"
    ]


class PartRow(TypedDict):
    """Seconds in one part of sampling with one model."""

    kind: Annotated[str, "part"]
    model: Model
    sampler: Annotated[str, "stepimp, or published: all positions projected and drawn"]
    part: Annotated[str, "body, projection, draw or rest"]
    seconds: Annotated[float, "seconds in this part"]
    share: Annotated[float, "share of the seconds"]
    outside_share: Annotated[float, "share outside the body, a in formula (7)"]
    speedup_bound: Annotated[float, "1/a, the most that fewer blocks can bring"]


class SavingRow(TypedDict):
    """What a schedule saves of the all-heavy run beside it."""

    kind: Annotated[str, "saving"]
    schedule: Notation
    light_fraction: Annotated[float, "share of the steps that do not run the heavy model"]
    saved_flops: Annotated[float, "share of the all-heavy FLOPs saved, formula (3): blocks only"]
    saved_flops_exact: Annotated[float, "share of FLOPs saved, counting all that ran"]
    saved_seconds: Annotated[float, "share of seconds saved, median over repeats"]
    saved_seconds_low: Annotated[float, "the least of the repeats"]
    saved_seconds_high: Annotated[float, "the most of the repeats"]
    seconds: Annotated[float, "seconds, median over repeats"]
    forwards: Annotated[int, "forward passes of one sequence that ran"]
    sample_steps: Annotated[int, "T x samples"]
    tokens_per_second: Annotated[float, "tokens drawn per second"]


class ReproducibilityRow(TypedDict):
    """Logits of one model in batches of one size, against those of each sequence alone."""

    kind: Annotated[str, "reproducibility"]
    model: Model
    batch_size: Annotated[int, "sequences per forward pass"]
    logit_rows: Annotated[int, "rows of logits compared, each over the vocabulary"]
    rows_different: Annotated[int, "rows in which any logit has other bits"]
    largest_logit_diff: Annotated[float | None, "largest absolute difference of two logits"]
    largest_ulp_diff: Annotated[float | None, "largest difference in units in the last place"]
    argmax_different: Annotated[int, "rows whose likeliest token is another one"]
    tokens_different: Annotated[int, "rows from which the sampler draws another token"]


class CascadeRow(TypedDict):
    """An entropy cascade on held-out text: the one for the budget, others, and each model alone."""

    name: Annotated[str, "cascade (for the budget), trade-off, all-heavy or all-light"]
    threshold_nats: NotRequired[Annotated[float, "nats: mean entropy above which the heavy runs"]]
    escalated: NotRequired[Annotated[float, "share of the events that the heavy model draws"]]
    saved_flops: Annotated[float, "share of the all-heavy FLOPs saved, by blocks"]
    nelbo_nats: Annotated[float, INTERVAL, "nats per token: NELBO"]
    path_kl_nats: Annotated[float, INTERVAL, "nats per token: path KL from all-heavy"]
    nelbo_diff_nats: NotRequired[
        Annotated[float, INTERVAL, "nats per token: paired, minus the best fixed schedule's"]
    ]


class PolicyRow(Quality):
    """One way to use two models; differences are paired with the best schedule over steps."""

    name: Annotated[str, "all-heavy, best over steps, best over n, plan, cascade, ..."]
    policy: Annotated[str, "notation of the schedule or plan, cascade(nats) or draft(events)"]
    predicted_heavy_forwards: Annotated[
        float | None, "expected cost of a sample in heavy passes, null where it is not predicted"
    ]
    heavy_forwards: Annotated[float, "cost of a sample in heavy passes, counting blocks"]
    forwards_heavy: Annotated[float, "forward passes of the heavy model per sample"]
    forwards_light: Annotated[float, "forward passes of the light model per sample"]
    sequential_heavy: Annotated[float, "heavy calls per sample that waited for the call before"]
    predicted_nelbo_nats: Annotated[float, INTERVAL, "nats per token: NELBO on the text that chose"]
    predicted_path_kl_nats: Annotated[float, INTERVAL, "nats per token: path KL on that text"]
    nelbo_nats: Annotated[float, INTERVAL, "nats per token: NELBO measured on other text"]
    nelbo_diff_nats: Annotated[float, INTERVAL, "paired, to the best over steps; hold jointly"]
    log_ppl_diff: Annotated[float, INTERVAL, "nats per token: paired, of samples under the judge"]
    seconds: Annotated[float, "seconds of sampling for all samples"]
    verdict: Annotated[str, "better, not better or worse by nelbo_diff_nats, or other cost"]


class GenerateRow(TypedDict):
    """What was generated; the texts are in the file beside the document."""

    schedule: Notation
    samples: Samples
    length: Annotated[int, "tokens per sample, of the longest"]
    samples_file: Annotated[str, "JSON Lines of index, tokens, text; with many prompts also prompt"]
    law: NotRequired[Annotated[str, "said where it is not the model's own: no NELBO, no path KL"]]


# document kind -> {part: types of its rows}; version 0.1 wrote loss and kl. A dot: into an object.
PARTS: dict[str, dict[str, tuple[type, ...]]] = {
    "curves": {"rows": (CurveRow,), "nelbo": (NelboRow,)},
    "loss": {"rows": (LossRow,), "nelbo": (NelboRow,)},
    "kl": {"rows": (KlRow,), "nelbo": (NelboRow,)},
    "recommend": {
        "rows": (RecommendRow,),
        "tradeoff": (TradeoffRow,),
        "curves": (CurveRow,),
        "boundaries.moves": (BoundaryRow,),
        "verification": (VerificationRow,),
    },
    "recommend_masked": {
        "rows": (MaskedRow,),
        "tradeoff": (MaskedTradeoffRow,),
        "curves": (CurveRow,),
    },
    "plan": {
        "rows": (PlanRow,),
        "frontier": (PlanRow,),
        "fixed": (FixedRow,),
        "curves": (CurveRow,),
    },
    "cascade": {"rows": (CascadeRow,)},
    "policies": {"rows": (PolicyRow,)},
    "generate": {"rows": (GenerateRow,)},
    "evaluate": {"rows": (EvaluateRow,)},
    "compare": {"rows": (CompareRow,), "pairs": (PairRow,)},
    "search": {
        "rows": (SearchRow,),
        "influence": (InfluenceRow,),
        "predictions": (PredictionRow,),
        "held_out": (HeldOutRow,),
        "race.rounds": (RoundRow,),
    },
    "profile": {"rows": (PartRow, SavingRow, ReproducibilityRow)},
}
