"""Where the curves of the loss difference and of the relative KL peak, and whether that is where
the paper says.
"""

from dataclasses import dataclass

import numpy as np

from stepimp.paper.describe import listing

PAPER_PEAK = (0.4, 0.6)  # where the paper finds the loss difference and the relative KL largest
NAMES = {
    "relative_kl_nats": "relative KL",
    "kl_nats": "KL (no baseline was measured)",
    "loss_abs_diff_nats": "absolute loss difference",
}
VERDICTS = {
    "middle": "As the paper claims, the {what} peaks in the middle for {models}.",
    "elsewhere": "The {what} peaks above both ends, but outside the paper's t = 0.4 to 0.6, for "
    "{models}.",
    "none": "No peak in the middle is resolved in the {what} of {models}; in brackets, where it is "
    "largest.",
}


def by_model(rows: list[dict]) -> dict[str, list[dict]]:
    """{model: its rows in the order of t}, models in the order of the rows."""
    models = dict.fromkeys(row["model"] for row in rows)
    return {
        model: sorted((row for row in rows if row["model"] == model), key=lambda row: row["t"])
        for model in models
    }


def values(rows: list[dict], column: str) -> np.ndarray:
    """One column as floats, NaN where nothing was measured."""
    return np.array([row.get(column) for row in rows], dtype=float)


def importance(rows: list[dict]) -> str:
    """The column that says how much a step matters: the relative KL, else the raw one, else the
    loss difference.
    """
    return [column for column in NAMES if column in rows[0]][0]


@dataclass(frozen=True)
class Peak:
    """Where one model's curve is largest.

    resolved: its lower band lies above the upper bands at both ends. contradicted: the largest
    value lies outside the paper's middle, and its lower band above all upper bands there.
    """

    t: float
    resolved: bool
    contradicted: bool

    @property
    def verdict(self) -> str:
        """A key of VERDICTS; the middle is where the paper finds the peak."""
        if not self.resolved:
            return "none"
        return "middle" if in_the_middle(self.t) else "elsewhere"


def in_the_middle(t: float) -> bool:
    """Whether a time is where the paper finds the peak."""
    return PAPER_PEAK[0] <= round(t, 6) <= PAPER_PEAK[1]


def peak(rows: list[dict], column: str) -> Peak:
    """The peak of one model's rows, which are in the order of t. Without a band nothing is
    resolved.
    """
    measured = [row for row in rows if row.get(column) is not None]
    top = int(np.argmax(values(measured, column)))
    low, high = values(measured, f"{column}_low"), values(measured, f"{column}_high")
    middle = [k for k, row in enumerate(measured) if in_the_middle(row["t"])]
    contradicted = bool(middle) and top not in middle and bool((low[top] > high[middle]).all())
    return Peak(measured[top]["t"], bool(low[top] > high[0] and low[top] > high[-1]), contradicted)


def peak_statement(rows: list[dict]) -> str:
    """Whether the importance of each light model peaks in the middle, as the paper claims. Up to
    three sentences.
    """
    column = importance(rows)
    peaks = {model: peak(curve, column) for model, curve in by_model(rows).items()}
    sentences = []
    for verdict, sentence in VERDICTS.items():
        models = [
            f"{model} (t = {top.t:.3g})" for model, top in peaks.items() if top.verdict == verdict
        ]
        if models:
            sentences.append(sentence.format(what=NAMES[column], models=listing(models)))
    return " ".join(sentences)
