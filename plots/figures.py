"""The figures, each built from results documents alone.

To add one: write its `draw` in a file of its own, a function here that takes the documents and returns the Figure,
and a line in FIGURES. `stepimp figures` then draws it.
"""

import json
from importlib.resources import files

from matplotlib.figure import Figure

from . import breakdown, kl, loss, savings, schedule, tradeoff
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
    axes = dict(zip(columns, figure.subplots(1, len(columns), squeeze=False)[0]))
    if "baseline_kl_nats" in axes:
        axes["baseline_kl_nats"].sharey(axes["kl_nats"])
    for column, ax in axes.items():
        kl.draw(ax, rows, colours(document), column)
        ax.set(ylabel=ax.get_ylabel() if column == "kl_nats" else "")
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


def profile(document: dict) -> Figure:
    """Where the time goes, and what a light fraction saves, beside the paper's Table 2."""
    rows, params = document["rows"], document["params"]
    figure = Figure(figsize=(WIDE, 2.7))
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
    breakdown.draw(left, [row for row in rows if row["kind"] == "part"])
    paper = json.loads((files("stepimp.fixtures") / "paper.json").read_text("utf-8"))["table2_light_fraction"]["rows"]
    plain = [row for row in rows if row["kind"] == "saving" and row["schedule"] != params["schedule"]]
    savings.draw(right, plain, paper)
    legend(figure)
    provenance = document["provenance"]
    footnote(
        figure,
        f"{params['heavy']} and {params['light']}, T = {params['steps']}, L = {params['length']}, {params['samples']} samples, "
        f"batch {params['batch_size']}, {params['dtype']} on {provenance['device']}; median and range of {params['repeats']} "
        f"runs; stepimp {provenance['version']}. Light steps lie at both ends.",
        "At most: the speed-up that fewer blocks can bring, 1/a for the share a of the time outside the body, formula (7). "
        "The paper prints 1/(1 - a) for this a; its own decomposition gives 1/a.",
    )
    return figure


# name of the figure: (kinds of the results documents it is drawn from, function of one document per kind)
FIGURES = {
    "figure4": (("loss",), figure4),
    "figure5": (("kl",), figure5),
    "figure12": (("kl",), figure12),
    "recommended": (("recommend",), recommended),
    "tradeoff": (("recommend",), trade_off),
    "profile": (("profile",), profile),
}
# the command that makes a kind of results document
MADE_BY = {
    "loss": "stepimp loss --heavy 12b --light 4b",
    "kl": "stepimp kl --heavy 12b --light 4b --baseline 12b_seed2",
    "recommend": "stepimp recommend --budget 0.25",
    "profile": "stepimp profile",
}
