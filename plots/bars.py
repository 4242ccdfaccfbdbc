"""Figures 1, 7, 8, 9, 11, 13 and 14: a bar with its interval for each schedule, beside it what the
paper published.
"""

from matplotlib.ticker import MaxNLocator

from .style import FAINT, INK

PAPER = {
    "marker": "D",
    "markersize": 3.6,
    "markerfacecolor": "white",
    "markeredgecolor": INK,
    "markeredgewidth": 0.8,
}


def interval(ax, y: float, row: dict, colour: str, width: float):
    """A line from the low to the high end, where there is an interval."""
    if row.get("low") is not None and row.get("high") is not None:
        ax.plot(
            [row["low"], row["high"]],
            [y, y],
            color=colour,
            linewidth=width,
            solid_capstyle="butt",
            zorder=3,
        )


def draw(ax, rows: list[dict], paper: list[dict], label: str, remark: str = ""):
    """One bar per row, the first on top.

    rows: `label`, `value`, `low`, `high` (the ends of its interval, or None), `colour` and
    `remark`, text to the right. paper: for each row `value`, `low` and `high` as published, or
    None. label: of the values; remark: above the text."""
    for y, (row, published) in enumerate(zip(rows, paper)):
        ax.barh(y, row["value"], height=0.62, color=row["colour"], zorder=2)
        interval(ax, y, row, INK, 1.1)
        if published:
            interval(ax, y + 0.2, published, FAINT, 0.7)
            ax.plot(
                published["value"],
                y + 0.2,
                linestyle="",
                label="paper",
                zorder=4,
                clip_on=False,
                **PAPER,
            )
        ax.text(
            1.03,
            y,
            row["remark"],
            transform=ax.get_yaxis_transform(),
            va="center_baseline",
            fontsize=6.5,
        )
    ax.text(
        1.03,
        -0.85,
        remark,
        transform=ax.get_yaxis_transform(),
        va="center_baseline",
        fontsize=6.5,
        color=FAINT,
    )
    ax.axvline(0, color=FAINT, linewidth=0.6, zorder=1)
    ax.set_yticks(range(len(rows)), [row["label"] for row in rows])
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel=label, xmargin=0.06)
    ax.autoscale_view(scaley=False)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    ax.grid(axis="x")
