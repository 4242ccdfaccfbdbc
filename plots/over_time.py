"""Figures of curves over t: 4, 5 and 12, and our own of the recommendation under them."""

from collections.abc import Callable

from matplotlib.figure import Figure

from stepimp.paper.contents import title
from stepimp.paper.describe import in_the_paper, measured
from stepimp.paper.peak import importance, peak_statement

from . import kl, loss, schedule
from .notes import annotate
from .style import COLUMN, WIDE, colours

KEY = "Bands: 95%, bootstrap over sequences. Shaded: where the paper finds the peak."
NO_BASELINE = "No second seed of the heavy model was measured: this is the KL itself."


def notes(document: dict, rows: list[dict]) -> tuple[str, ...]:
    """Paragraphs for `annotate`."""
    return measured(document), peak_statement(rows), f"{KEY} {in_the_paper(document)}"


def figure4(document: dict) -> Figure:
    """Loss difference over t, absolute, and beside it signed."""
    figure, rows = Figure(figsize=(WIDE, 3.4)), document["rows"]
    for ax, column in zip(figure.subplots(1, 2), loss.PANELS):
        loss.draw(ax, rows, colours(document), column)
    annotate(figure, title("figure4"), *notes(document, rows))
    return figure


def relative_kl(name: str) -> Callable[[dict], Figure]:
    """A function document -> Figure of the relative KL over t, and beside it the two it is the
    difference of.
    """

    def build(document: dict) -> Figure:
        rows, tint = document["rows"], colours(document)
        column = importance(rows)
        parts = ["kl_nats", "baseline_kl_nats"] if column == "relative_kl_nats" else []
        figure = Figure(figsize=(WIDE if parts else COLUMN, 3.4))
        axes = figure.subplots(1, 2 if parts else 1, squeeze=False)[0]
        kl.draw(axes[0], rows, tint, column)
        for part in parts:
            kl.draw(axes[1], rows, tint, part)
        if parts:
            axes[1].set(title="KL to the heavy model", ylabel="")
        missing = [] if parts else [NO_BASELINE]
        annotate(figure, title(name), *missing, *notes(document, rows))
        return figure

    return build


def recommended(document: dict) -> Figure:
    """How much each step matters, and under it the recommended schedule and those it was compared
    with, by rank.
    """
    params, blocks, tint = document["params"], document["blocks"], colours(document)
    curves = [row for row in document["curves"] if row["model"] in params["lights"]]
    strips = [row for row in document["rows"] if row["name"] not in ("all-heavy", "all-light")]
    figure = Figure(figsize=(COLUMN, 3.8 + 0.16 * len(strips)))
    above, below = figure.subplots(2, sharex=True, height_ratios=[10, 1.2 * len(strips)])
    column = importance(curves)
    (loss if column in loss.PANELS else kl).draw(above, curves, tint, column)
    schedule.draw(below, strips, params["heavy"], min(params["lights"], key=blocks.get), tint)
    above.set(xlabel="")
    annotate(figure, title("recommended"), *notes(document, curves))
    return figure


BUILDS: dict[str, Callable[[dict], Figure]] = {
    "figure4": figure4,
    "figure5": relative_kl("figure5"),
    "figure12": relative_kl("figure12"),
    "recommended": recommended,
}
