"""The figures, each built from results documents alone.

To add one: write its `draw` in a file of its own, a function here that takes the documents and returns the Figure, and a
line in FIGURES. `stepimp figures` then draws it.
"""

from matplotlib.figure import Figure

from . import kl, loss, schedule, tradeoff
from .notes import footnote, measured, peak_statement
from .style import COLUMN, WIDE, colours, legend

KEY = "Bands: 95%, bootstrap over sequences. Shaded: where the paper finds the peak."


def figure4(document: dict) -> Figure:
    """Loss difference over t, absolute and signed."""
    figure, rows = Figure(figsize=(WIDE, 2.9)), document["rows"]
    for ax, column in zip(figure.subplots(1, 2), loss.PANELS):
        loss.draw(ax, rows, colours(document["params"]), column)
    legend(figure)
    footnote(figure, measured(document, rows), peak_statement(rows, "loss_abs_diff_nats"), KEY)
    return figure


def figure5(document: dict) -> Figure:
    """Relative KL over t, and below it, smaller, what it is the difference of."""
    figure, rows = Figure(figsize=(COLUMN, 4.2)), document["rows"]
    shown, tint = kl.importance(rows), colours(document["params"])
    parts = [column for column in ("kl_nats", "baseline_kl_nats") if column in rows[0] and column != shown]
    axes = figure.subplots(2 if parts else 1, squeeze=False, sharex=True, height_ratios=[2, 1] if parts else [1])[:, 0]
    kl.draw(axes[0], rows, tint, shown)
    for column in parts:
        kl.draw(axes[1], rows, tint, column, band=False, linewidth=0.9)
        axes[1].set(title="Raw and baseline KL", ylabel="nats")
        axes[0].set(xlabel="")
    legend(figure)
    footnote(figure, measured(document, rows), peak_statement(rows, shown), KEY)
    return figure


def figure12(document: dict) -> Figure:
    """All light models: raw, baseline and relative KL, as far as they were measured."""
    rows = document["rows"]
    columns = [column for column in kl.TITLES if column in rows[0]]
    figure = Figure(figsize=(WIDE, 2.8))
    axes = figure.subplots(1, len(columns), squeeze=False)[0]
    for ax, column in zip(axes, columns):
        kl.draw(ax, rows, colours(document["params"]), column)
    for ax in axes[1:]:
        ax.set(ylabel="")
    if len(axes) > 1:
        axes[1].sharey(axes[0])
    legend(figure)
    footnote(figure, measured(document, rows), peak_statement(rows, kl.importance(rows)), KEY)
    return figure


def recommended(document: dict) -> Figure:
    """The relative KL, and under it the recommended schedule and those it was compared with, the best first."""
    params, rows, curves = document["params"], document["rows"], document["curves"]
    chosen = [row for row in rows if row["name"] == "recommended"]
    others = [row for row in rows if row not in chosen and 0 < row["light_fraction"] < 1]
    strips = chosen + sorted(others, key=lambda row: row["rank"])
    tint = colours(params)
    figure = Figure(figsize=(COLUMN, 3.1 + 0.16 * len(strips)))
    above, below = figure.subplots(2, sharex=True, height_ratios=[10, 1.2 * len(strips)])
    kl.draw(above, curves, tint, kl.importance(curves))
    schedule.draw(below, strips, params["heavy"], params["lights"][0], tint)
    above.set(xlabel="")
    legend(figure)
    footnote(figure, measured(document, curves), peak_statement(curves, kl.importance(curves)), KEY)
    return figure


def trade_off(document: dict) -> Figure:
    """The least predicted objective over the light fraction, and the compared schedules."""
    params, rows = document["params"], document["rows"]
    figure = Figure(figsize=(COLUMN, 3.2))
    tradeoff.draw(figure.subplots(), document["tradeoff"], rows, params["by"])
    chosen = next(row for row in rows if row["name"] == "recommended")
    saving = f"{chosen['saved_flops']:.1%} of the blocks' FLOPs saved"
    footnote(
        figure,
        "Line: the best schedule for every light fraction, from the curves, without sampling.",
        f"Recommended: {chosen['schedule']}, {saving}.",
        measured(document, document["curves"]),
    )
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
