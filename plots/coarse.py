"""Figure 2: coarse schedules as rows of segments, with their gen-PPL."""

import seaborn
from matplotlib.colors import ListedColormap

from stepimp.intervals import Estimate

from .notes import with_half
from .segments import segment_axis
from .style import HEAVY_SEGMENT, LIGHT_SEGMENT, SMALL


def draw(ax, rows: list[dict]):
    """rows: of `search`, the first on top; `segments` has a letter each, H or L, the start of
    sampling first. To the right is the gen-PPL with half of its 95% interval.
    """
    light = [[letter == "L" for letter in row["segments"]] for row in rows]
    seaborn.heatmap(
        light,
        vmin=0,
        vmax=1,
        cmap=ListedColormap([HEAVY_SEGMENT, LIGHT_SEGMENT]),
        cbar=False,
        linewidths=1,
        linecolor="white",
        yticklabels=[row["rank"] for row in rows],
        ax=ax,
    )
    place = {"va": "center_baseline", "fontsize": SMALL}
    for y, row in enumerate(rows):
        words = with_half(Estimate.of(row, "gen_ppl"))
        ax.text(1.02, y + 0.5, words, transform=ax.get_yaxis_transform(), **place)
    ax.tick_params(length=0)
    ax.set_yticklabels(ax.get_yticklabels(), rotation=0)
    segment_axis(ax, len(light[0]), offset=0.5)
