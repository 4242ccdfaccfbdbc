"""What is predicted without sampling, of schedules and plans, as rows of results documents.

`stepimp.rows` has all other rows and says how a column is declared.
"""

from typing import Annotated, TypedDict

INTERVAL = "with a 95% interval"
Samples = Annotated[int, "samples behind the row"]

Notation = Annotated[str, "from the start of sampling: L125,H750,L125 or 4b:250,12b:750"]
AnyNotation = Annotated[
    str,
    "from the start of sampling: over steps L125,H750,L125, over masked positions "
    "L@256-160,H@160-0, or tokens of each pass of a plan L*12,H*30+8",
]


class ScheduleRow(TypedDict):
    """What a schedule is, and what it saves by counting blocks."""

    name: Annotated[str, "hand-crafted schedule, recommended, best (of a trade-off) or given"]
    schedule: AnyNotation
    light_fraction: Annotated[float, "share of the steps or passes that do not run the heavy model"]
    saved_flops: Annotated[float, "share of the all-heavy FLOPs saved, formula (3): blocks only"]


class Predictions(TypedDict):
    """What the curves predict of a schedule, without sampling."""

    path_kl_nats: Annotated[float, INTERVAL, "nats per token: path KL (9) from all-heavy"]
    nelbo_nats: Annotated[float, INTERVAL, "nats per token: NELBO (10) of the schedule"]


class TradeoffRow(ScheduleRow, Predictions):
    """The best schedule for one budget."""

    objective: Annotated[float, INTERVAL, "nats per token: what was minimised (params: by)"]


class RecommendRow(TradeoffRow):
    """The recommendation (rank 1), then the hand-crafted schedules by their objective."""

    rank: Annotated[int, "1 for the recommendation"]


class PredictedRow(Predictions):
    """A schedule of any kind and what curves over the number of masked positions predict of it."""

    name: Annotated[str, "what the schedule is called"]
    schedule: AnyNotation
    light_fraction: Annotated[float, "share of the forward passes that do not run the heavy model"]
    saved_flops: Annotated[float, "share of the FLOPs of as many heavy passes saved: blocks only"]
    forwards: Annotated[float, "expected forward passes of a sample"]
    heavy_forwards: Annotated[float, "their cost in passes of the heavy model: blocks only"]
    objective: Annotated[float, INTERVAL, "nats per token: what was minimised (params: by)"]


class MaskedTradeoffRow(PredictedRow):
    """The best schedule over the number of masked positions for one budget, beside the best over
    steps at the same expected cost.
    """

    best_over_steps: Annotated[str, "the best schedule over steps at the same expected cost"]
    over_steps_diff_nats: Annotated[
        float, INTERVAL, "nats per token: paired, objective minus that of the best over steps"
    ]


class MaskedRow(MaskedTradeoffRow):
    """The recommendation (rank 1), then the others by their objective."""

    rank: Annotated[int, "1 for the recommendation"]


class PlanRow(PredictedRow):
    """A plan of steps and models; of the frontier, the best for its cost."""

    passes: Annotated[str, "forward passes of each model, in the order of first use"]
    objective_diff_nats: Annotated[
        float, INTERVAL, "nats per token: paired, objective minus the recommendation's"
    ]


class FixedRow(PredictedRow):
    """A schedule of a fixed number of steps, beside the frontier of plans."""

    steps: Annotated[int, "number of denoising steps T"]


class BoundaryRow(TypedDict):
    """A boundary of the recommended schedule, and how far it moves under the bootstrap."""

    before: Annotated[str, "model before it"]
    after: Annotated[str, "model after it"]
    t: Annotated[float, INTERVAL, "time of the boundary"]
