"""The small print in a figure: what was measured, and whether it peaks where the paper says."""

import textwrap
from dataclasses import dataclass

import numpy as np

from .curve import PAPER_PEAK, by_model, values
from .style import FAINT

CHARACTERS_PER_INCH = 23
NAMES = {
    "relative_kl_nats": "relative KL",
    "kl_nats": "KL (no baseline was measured)",
    "loss_abs_diff_nats": "absolute loss difference",
}
VERDICTS = {
    "middle": "As the paper claims, the {what} peaks in the middle for {models}.",
    "elsewhere": "The {what} peaks above both ends, but outside the paper's t = %g to %g, for {models}." % PAPER_PEAK,
    "none": "No peak in the middle is resolved in the {what} of {models}; in brackets, where it is largest.",
}


def importance(rows: list[dict]) -> str:
    """The column that says how much a step matters: the relative KL, else the raw one, else the loss difference."""
    return [column for column in NAMES if column in rows[0]][0]


@dataclass(frozen=True)
class Peak:
    """Where one model's curve is largest. resolved: its lower band lies above the upper bands at both ends."""

    t: float
    resolved: bool

    @property
    def verdict(self) -> str:
        """A key of VERDICTS; the middle is where the paper finds the peak."""
        if not self.resolved:
            return "none"
        return "middle" if PAPER_PEAK[0] <= round(self.t, 6) <= PAPER_PEAK[1] else "elsewhere"


def peak(rows: list[dict], column: str) -> Peak:
    """The peak of one model's rows, which are in the order of t. Without a band nothing is resolved."""
    measured = [row for row in rows if row.get(column) is not None]
    top = int(np.argmax(values(measured, column)))
    low, high = values(measured, f"{column}_low"), values(measured, f"{column}_high")
    return Peak(measured[top]["t"], bool(low[top] > high[0] and low[top] > high[-1]))


def peak_statement(rows: list[dict]) -> str:
    """Whether the importance of each light model peaks in the middle, as the paper claims. Up to three sentences."""
    column = importance(rows)
    peaks = {model: peak(own, column) for model, own in by_model(rows).items()}
    sentences = []
    for verdict, sentence in VERDICTS.items():
        found = [f"{model} (t = {one.t:.3g})" for model, one in peaks.items() if one.verdict == verdict]
        if found:
            sentences.append(sentence.format(what=NAMES[column], models=listing(found)))
    return " ".join(sentences)


def listing(names: list[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def measured(document: dict) -> str:
    """Models, sequences, corpus and version behind the curves of a document."""
    rows, params = document.get("curves", document["rows"]), document.get("curve_params", document["params"])
    counts = sorted({row["sequences"] for row in rows})
    sequences = " to ".join(str(count) for count in dict.fromkeys([counts[0], counts[-1]]))
    corpus = f"sampled from {params['heavy']}" if params["inputs"] == "samples" else f"of {params['data']}"
    baseline = f", baseline {params['baseline']}" if params["baseline"] else ""
    models = f"Heavy {params['heavy']}, light {listing(params['lights'])}{baseline}"
    return f"{models}; {sequences} sequences {corpus}; stepimp {document['provenance']['version']}."


def footnote(figure, *paragraphs: str):
    """Small text below the panels, each paragraph wrapped to the width of the figure."""
    width = int(figure.get_figwidth() * CHARACTERS_PER_INCH)
    # A constrained layout makes room for a figure's x label, and for no other text.
    whole = (one.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}") for one in paragraphs)
    text = "\n".join(textwrap.fill(one, width) for one in whole)
    figure.supxlabel(text, x=0.01, ha="left", fontsize=5.8, color=FAINT, linespacing=1.35)
