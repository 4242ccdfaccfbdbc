"""The strip of a schedule: which model runs at which t, from the start of sampling to its end."""

from matplotlib.colors import to_rgb

from stepimp.schedules.schedule import parse

from .curve import time_axis
from .style import INK, SMALL

ROOM = 0.07  # the least share of the steps a segment needs to hold its label


def ink_on(colour) -> str:
    """The text colour that can be read on this one."""
    red, green, blue = to_rgb(colour)
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else INK


def strip(ax, y: float, schedule, colours: dict):
    """One bar from t = 1 to t = 0, a coloured piece per segment with its number of steps where it
    fits.
    """
    start = 1.0
    for model, count in schedule.segments:
        share = count / schedule.steps
        tint = colours[model]
        ax.barh(
            y,
            -share,
            left=start,
            height=0.76,
            color=tint,
            edgecolor="white",
            linewidth=0.6,
            label=model,
        )
        if share >= ROOM:
            ax.text(
                start - share / 2,
                y,
                str(count),
                ha="center",
                va="center_baseline",
                fontsize=SMALL,
                color=ink_on(tint),
            )
        start -= share


def draw(ax, rows: list[dict], heavy: str, light: str, colours: dict):
    """One strip per `recommend` row, the first on top. H and L in a schedule stand for `heavy` and
    `light`.
    """
    for y, row in enumerate(rows):
        strip(ax, y, parse(row["schedule"], heavy, light), colours)
    ax.set_yticks(range(len(rows)), [row["name"] for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    time_axis(ax)
