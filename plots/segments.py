"""Figures 3 and 10: a bar with its interval for each segment of the trajectory."""

from .curve import time_axis
from .style import FAINT, INK


def draw(ax, rows: list[dict], column: str, colour: str, chance: float = 0.0):
    """rows: one per segment, with `t_from`, `t_to`, the column, its _low and _high. chance: a
    dashed line's height.
    """
    for row in rows:
        middle, width = (row["t_from"] + row["t_to"]) / 2, row["t_from"] - row["t_to"]
        ax.bar(middle, row[column], width=0.8 * width, color=colour, zorder=2)
        ax.plot(
            [middle, middle],
            [row[column + "_low"], row[column + "_high"]],
            color=INK,
            linewidth=1.1,
            solid_capstyle="butt",
            zorder=3,
        )
    ax.axhline(
        chance,
        color=FAINT,
        linewidth=0.8,
        linestyle="--" if chance else "-",
        zorder=2.5 if chance else 1,
    )
    time_axis(ax)
