"""What a set of results resolves at 95%, and how much more it would take to resolve the rest."""

import math
from dataclasses import dataclass

import numpy as np

from stepimp.intervals import Estimate, ratio
from stepimp.paper.describe import is_reference
from stepimp.paper.peak import by_model, importance
from stepimp.paper.rows import (
    by_fraction,
    by_light,
    hand_crafted,
    light_of_depth,
    lightest,
    schedule_of,
)

MOST = 30  # times as many samples: an effect that needs more is as good as none
MARGIN = 1.2  # on the predicted number of samples, as effect and spread are estimates themselves
# need: (figure, depth of the paper's light model, None for the shallowest)
COMPARISONS = {
    "unconditional": ("Figure 1", None),
    "light_6": ("Figure 7", 6),
    "light_8": ("Figure 8", 8),
    "light_10": ("Figure 9", 10),
    "lm1b": ("Figure 11", None),
    "prefix_256": ("Figure 13", None),
    "prefix_128": ("Figure 14", None),
}


@dataclass(frozen=True)
class Effect:
    """One effect that a figure or table is to show, and whether it is resolved from 0.

    where: the figure or table; what: the effect in words; estimate: with its 95% interval; count:
    samples or sequences behind it; light: the one light model it is about, if it is not the
    shallowest; seconds: what measuring as many took.
    """

    where: str
    what: str
    need: str
    estimate: Estimate
    count: int
    seconds: float
    light: str | None = None

    @property
    def resolved(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.estimate.low > 0 or self.estimate.high < 0

    @property
    def count_needed(self) -> int | None:
        """Samples or sequences that would resolve it if the effect is as large as measured, a
        multiple of 8; None for more than MOST times as many.
        """
        if self.resolved:
            return self.count
        value = abs(self.estimate.value)
        factor = MARGIN * (self.estimate.half / value) ** 2 if value else math.inf
        return 8 * math.ceil(factor * self.count / 8) if factor <= MOST else None

    @property
    def seconds_needed(self) -> float:
        """Infinite where no number of samples is expected to resolve it. Kept samples of a
        comparison are not drawn again; curves and searches start anew.
        """
        if self.count_needed is None:
            return math.inf
        more = self.count_needed - (self.count if self.need in SAMPLED else 0)
        return self.seconds * more / self.count


SAMPLED = (*COMPARISONS, "light_sizes", "light_fractions")


def effects(documents: dict[str, dict | None]) -> list[Effect]:
    """The effects in documents measured here; the shipped reference run is left out."""
    measured = {
        need: document
        for need, document in documents.items()
        if document and not is_reference(document)
    }
    listed = [all_light(need, measured[need]) for need in COMPARISONS if need in measured]
    if "unconditional" in measured:
        listed += placement(measured["unconditional"])
    if "light_sizes" in measured:
        listed.append(smallest_light(measured["light_sizes"]))
    if "light_fractions" in measured:
        listed.append(trend(measured["light_fractions"]))
    curves = {"loss": "Figure 4", "kl": "Figure 5", "kl_lm1b": "Figure 12"}
    listed += [
        curve(need, figure, measured[need]) for need, figure in curves.items() if need in measured
    ]
    if "search" in measured:
        listed.append(influence(measured["search"]))
    return listed


def drawing_seconds(document: dict, light: str | None) -> float:
    """Seconds that drawing the samples took, of all schedules or of one light model's."""
    rows = {
        row["schedule"] + str(row["light"]): row
        for row in document["rows"]
        if light is None or row["light"] in (light, None)
    }
    return sum(row["seconds"] for row in rows.values())


def of_comparison(document: dict, light: str | None = None) -> dict:
    """An effect's count, seconds and light model, of a comparison."""
    return {
        "count": document["params"]["samples"],
        "seconds": drawing_seconds(document, light),
        "light": light,
    }


def all_light(need: str, document: dict) -> Effect:
    """All-light against all-heavy."""
    figure, depth = COMPARISONS[need]
    light = light_of_depth(document, depth) if depth else None
    row = hand_crafted(document, light)["all-light"]
    what = f"all-light ({light or lightest(document)}) against all-heavy, log-PPL"
    estimate = Estimate.of(row, "log_ppl_diff")
    return Effect(figure, what, need, estimate, **of_comparison(document, light))


def placement(document: dict) -> list[Effect]:
    """The two placements of the shallowest light model that differ most, of all pairs jointly."""
    pairs = [pair for pair in document.get("pairs", []) if pair["light"] == lightest(document)]
    if not pairs:
        return []
    widest = max(pairs, key=lambda pair: pair["log_ppl_diff"])
    what = f"{widest['worse_name']} against {widest['better_name']}, of all pairs, log-PPL"
    estimate = Estimate.of(widest, "log_ppl_diff")
    return [Effect("Figure 1", what, "unconditional", estimate, **of_comparison(document))]


def smallest_light(document: dict) -> Effect:
    """The sandwich with the shallowest light model against all-heavy."""
    light, row = next(iter(by_light(document).items()))
    what = f"sandwich with {light} against all-heavy, log-PPL"
    estimate = Estimate.of(row, "log_ppl_diff")
    return Effect("Table 1", what, "light_sizes", estimate, **of_comparison(document))


def trend(document: dict) -> Effect:
    """The least-squares slope of log-PPL over the fraction of light steps, paired over samples."""
    rows = by_fraction(document)
    fractions = np.array(list(rows)) / 100
    samples = document["per_sample"]
    log_ppl = np.array(
        [samples[schedule_of(row, document).format()]["log_ppl"] for row in rows.values()]
    )
    centred = fractions - fractions.mean()
    slopes = centred @ log_ppl / (centred**2).sum()  # one for each sample
    what = "trend from all-heavy to all-light, log-PPL"
    return Effect("Table 2", what, "light_fractions", ratio(slopes), **of_comparison(document))


def curve(need: str, figure: str, document: dict) -> Effect:
    """The deepest light model, which differs least, nearest to t = 0.5."""
    rows = document["rows"]
    column = "loss_diff_nats" if need == "loss" else importance(rows)
    model = max(document["params"]["lights"], key=document["blocks"].get)
    row = min(by_model(rows)[model], key=lambda row: abs(row["t"] - 0.5))
    words = {"loss_diff_nats": "loss difference (signed)", "relative_kl_nats": "relative KL"}
    what = f"{words.get(column, 'KL')} of {model} at t = {row['t']:.2g}"
    seconds = document["provenance"]["wall_seconds"]
    return Effect(figure, what, need, Estimate.of(row, column), row["sequences"], seconds)


def influence(document: dict) -> Effect:
    """The largest influence of a segment."""
    rows = document["influence"]
    row = max(rows, key=lambda row: abs(row["influence_ppl"]))
    what = f"largest influence, of segment {rows.index(row)}, gen-PPL"
    estimate, params = Estimate.of(row, "influence_ppl"), document["params"]
    seconds = document["provenance"]["wall_seconds"]
    return Effect("Figures 2, 3, 6, 10", what, "search", estimate, params["samples"], seconds)
