"""A horizontal bar with its 95% interval for each schedule, or a point for each difference."""

import math
from dataclasses import dataclass

import seaborn
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from stepimp.intervals import Estimate

from .style import FAINT, INK, LINE, SMALL

PAPER = {
    "linestyle": "",
    "marker": "D",
    "markersize": 3.6,
    "markerfacecolor": "white",
    "markeredgecolor": INK,
    "markeredgewidth": 0.8,
}
PAPER_LABEL = "paper (other models, text and judge)"


@dataclass(frozen=True)
class Bar:
    """label: unique among the bars of a figure."""

    label: str
    estimate: Estimate
    colour: str | tuple


def interval(ax, x: float, y: float, estimate: Estimate, horizontal: bool = True, **look):
    """The line from the low to the high end of an interval, with caps, where there is one."""
    if math.isnan(estimate.half):
        return
    # The value may lie outside of a percentile interval: its line then ends at the value.
    arms = [[max(0, estimate.value - estimate.low)], [max(0, estimate.high - estimate.value)]]
    look = {"color": INK, "linewidth": 1.0, "capsize": 1.8, "zorder": 3} | look
    drawn = ax.errorbar(x, y, **{"xerr" if horizontal else "yerr": arms}, fmt="none", **look)
    for artist in drawn.get_children():  # seen on a dark bar as well
        artist.set_path_effects([withStroke(linewidth=2, foreground="white")])


def margin(ax, lines: list[str], heading: str):
    """Text to the right of each bar, under a heading."""
    place = {"transform": ax.get_yaxis_transform(), "va": "center_baseline", "fontsize": SMALL}
    for y, line in enumerate(lines):
        ax.text(1.02, y, line, **place)
    ax.text(1.02, -0.8, heading, color=FAINT, **place)


def rows_of(ax, bars: list[Bar], label: str):
    """Labels the rows of a panel of bars. label: of the values."""
    ax.set_yticks(range(len(bars)), [bar.label for bar in bars])
    ax.set(ylim=(len(bars) - 0.5, -0.5), xlabel=label, ylabel="")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    ax.grid(axis="x")


def draw(ax, bars: list[Bar], label: str):
    """One bar per row from 0, the first on top. label: of the values."""
    labels = [bar.label for bar in bars]
    seaborn.barplot(
        x=[bar.estimate.value for bar in bars],
        y=labels,
        hue=labels,
        palette={bar.label: bar.colour for bar in bars},
        saturation=1,
        width=0.68,
        errorbar=None,
        legend=False,
        zorder=2,
        ax=ax,
    )
    for y, bar in enumerate(bars):
        interval(ax, bar.estimate.value, y, bar.estimate)
    rows_of(ax, bars, label)
    ax.set_xlim(0, 1.03 * max(max(bar.estimate.value, bar.estimate.high) for bar in bars))


def draw_changes(ax, bars: list[Bar], printed: list[Estimate | None], label: str):
    """A point per row with its interval, and below it the paper's as a diamond, from 0.

    printed: what the paper printed for each row, or None.
    """
    for y, (bar, published) in enumerate(zip(bars, printed)):
        interval(ax, bar.estimate.value, y - 0.14, bar.estimate, color=INK)
        ax.plot(
            bar.estimate.value,
            y - 0.14,
            "o",
            markersize=4.5,
            color=bar.colour,
            markeredgecolor=INK,
            markeredgewidth=0.5,
            label="stepimp",
            zorder=4,
        )
        if published is not None:
            interval(ax, published.value, y + 0.2, published, color=FAINT, linewidth=0.7)
            ax.plot(published.value, y + 0.2, label=PAPER_LABEL, zorder=4, **PAPER)
    ax.axvline(0, color=LINE, linewidth=0.8, zorder=1)
    rows_of(ax, bars, label)
    ax.margins(x=0.06)
    ax.autoscale_view(scaley=False)
