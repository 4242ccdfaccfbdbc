"""Figures 3, 6 and 10: a bar with its interval for each segment of the trajectory."""

import seaborn

from stepimp.intervals import Estimate

from .bars import interval
from .style import FAINT


def draw(ax, rows: list[dict], column: str, colour, chance: float = 0.0):
    """rows: one per segment, the start of sampling first, with the column, its _low and _high.

    chance: height of a dashed line.
    """
    places = list(range(len(rows)))
    heights = [row[column] for row in rows]
    bars = {"color": colour, "saturation": 1, "width": 0.74, "errorbar": None, "zorder": 2}
    seaborn.barplot(x=places, y=heights, ax=ax, **bars)
    for x, row in enumerate(rows):
        interval(ax, x, row[column], Estimate.of(row, column), horizontal=False)
    look = {"linestyle": "--", "zorder": 2.5} if chance else {"linestyle": "-", "zorder": 1}
    ax.axhline(chance, color=FAINT, linewidth=0.8, **look)
    segment_axis(ax, len(rows))


def segment_axis(ax, count: int, offset: float = 0.0):
    """Segments from 0, where sampling starts (t = 1). offset: of the first one's middle."""
    ax.set_xticks([k + offset for k in range(count)], [str(k) for k in range(count)], rotation=0)
    ax.set_xlabel("segment (0: from t = 1, the start of sampling)")
