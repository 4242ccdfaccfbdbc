"""The small print in a figure: what was measured, and whether it peaks where the paper says."""

import textwrap
from dataclasses import dataclass

import numpy as np

from .curve import PAPER_PEAK, by_model, values
from .style import FAINT

CHARACTERS_PER_INCH = 23
NAMES = {
    "loss_abs_diff_nats": "absolute loss difference",
    "relative_kl_nats": "relative KL",
    "kl_nats": "KL (no baseline was measured)",
}
VERDICTS = {
    "middle": "As the paper claims, the {what} peaks in the middle for {models}.",
    "elsewhere": "The {what} peaks above both ends, but outside the paper's t = 0.4 to 0.6, for {models}.",
    "none": "No peak of the {what} in the middle is resolved for {models}, where it is largest.",
}


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


def peak_statement(rows: list[dict], column: str) -> str:
    """Whether a column peaks in the middle as the paper claims, for each light model, in up to three sentences."""
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


def measured(document: dict, rows: list[dict]) -> str:
    """Models, sequences, corpus, seed and version behind the rows of a curve."""
    params, counts = document["params"], {row["sequences"] for row in rows}
    models = f"Heavy {params['heavy']}, light {listing(params['lights'])}"
    models += f", baseline {params['baseline']}" if params.get("baseline") else ""
    sequences = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else f"{max(counts)}"
    corpus = f" of {params['data']}" if params.get("data") else ""
    version = document["provenance"]["version"]
    return f"{models}; {sequences} sequences{corpus}; stepimp {version}."


def footnote(figure, *paragraphs: str):
    """Small text below the panels, each paragraph wrapped to the width of the figure."""
    width = int(figure.get_figwidth() * CHARACTERS_PER_INCH)
    # A constrained layout makes room for a figure's x label, and for no other text.
    text = "\n".join(textwrap.fill(one, width) for one in paragraphs)
    figure.supxlabel(text, x=0.01, ha="left", fontsize=5.8, color=FAINT, linespacing=1.35)
