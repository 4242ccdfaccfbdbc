"""The figures, each built from results documents alone.

To add one: write its `draw` in a file of its own, a function here that takes the documents and returns the Figure,
and a line in FIGURES. `stepimp figures` then draws it.
"""

from matplotlib.figure import Figure

from . import kl, loss, schedule, tradeoff
from .notes import footnote, importance, measured, peak_statement
from .style import COLUMN, WIDE, colours, legend

KEY = "Bands: 95%, bootstrap over sequences. Shaded: where the paper finds the peak."


def figure4(document: dict) -> Figure:
    """Loss difference over t, absolute and signed."""
    figure, rows = Figure(figsize=(WIDE, 2.9)), document["rows"]
    for ax, column in zip(figure.subplots(1, 2), loss.PANELS):
        loss.draw(ax, rows, colours(document), column)
    legend(figure)
    footnote(figure, measured(document), peak_statement(rows), KEY)
    return figure


def figure5(document: dict) -> Figure:
    """Relative KL over t, and below it, smaller, what it is the difference of."""
    rows, tint = document["rows"], colours(document)
    column = importance(rows)
    parts = ["kl_nats", "baseline_kl_nats"] if column == "relative_kl_nats" else []
    figure = Figure(figsize=(COLUMN, 4.2 if parts else 3.2))
    axes = figure.subplots(2 if parts else 1, squeeze=False, sharex=True, height_ratios=[2, 1] if parts else [1])[:, 0]
    kl.draw(axes[0], rows, tint, column)
    for part in parts:
        kl.draw(axes[1], rows, tint, part, band=False, linewidth=0.9)
        axes[0].set(xlabel="")
        axes[1].set(title="Raw and baseline KL", ylabel="nats")
    legend(figure)
    footnote(figure, measured(document), peak_statement(rows), KEY)
    return figure


def figure12(document: dict) -> Figure:
    """All light models: raw, baseline and relative KL, as far as they were measured."""
    rows = document["rows"]
    columns = [column for column in kl.TITLES if column in rows[0]]
    figure = Figure(figsize=(max(COLUMN, WIDE * len(columns) / 3), 2.8))
    axes = figure.subplots(1, len(columns), squeeze=False)[0]
    for ax, column in zip(axes, columns):
        kl.draw(ax, rows, colours(document), column)
    for ax in axes[1:]:
        ax.set(ylabel="")
    if len(axes) > 1:
        axes[1].sharey(axes[0])
    legend(figure)
    footnote(figure, measured(document), peak_statement(rows), KEY)
    return figure


def recommended(document: dict) -> Figure:
    """How much each step matters, and under it the recommended schedule and those it was compared with, by rank."""
    params, blocks, tint = document["params"], document["blocks"], colours(document)
    curves = [row for row in document["curves"] if row["model"] in params["lights"]]
    strips = [row for row in document["rows"] if row["name"] not in ("all-heavy", "all-light")]
    figure = Figure(figsize=(COLUMN, 3.1 + 0.16 * len(strips)))
    above, below = figure.subplots(2, sharex=True, height_ratios=[10, 1.2 * len(strips)])
    column = importance(curves)
    (loss if column in loss.PANELS else kl).draw(above, curves, tint, column)
    schedule.draw(below, strips, params["heavy"], min(params["lights"], key=blocks.get), tint)
    above.set(xlabel="")
    legend(figure)
    footnote(figure, measured(document), peak_statement(curves), KEY)
    return figure


def trade_off(document: dict) -> Figure:
    """The least predicted objective for every budget, and the schedules it was compared with."""
    params, rows = document["params"], document["rows"]
    figure = Figure(figsize=(COLUMN, 3.2))
    by = "relative_kl" if params["by"] == "kl" and params["baseline"] else params["by"]
    budget = "saved_flops" if params["save_flops"] else "light_fraction"
    tradeoff.draw(figure.subplots(), rows, document["tradeoff"], by, budget)
    line = f"Line: the best schedules of at most {params['segments']} segments, predicted from the curves."
    chosen = f"Recommended: {rows[0]['schedule']}, {rows[0]['saved_flops']:.1%} of the blocks' FLOPs saved."
    footnote(figure, line, chosen, measured(document))
    return figure


# name of the figure: (kinds of the results documents it is drawn from, function of one document per kind)
FIGURES = {
    "figure4": (("loss",), figure4),
    "figure5": (("kl",), figure5),
    "figure12": (("kl",), figure12),
    "recommended": (("recommend",), recommended),
    "tradeoff": (("recommend",), trade_off),
}
# the command that makes a kind of results document
MADE_BY = {
    "loss": "stepimp loss --heavy 12b --light 4b",
    "kl": "stepimp kl --heavy 12b --light 4b --baseline 12b_seed2",
    "recommend": "stepimp recommend --budget 0.25",
}
