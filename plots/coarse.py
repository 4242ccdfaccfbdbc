"""Figure 2: coarse schedules as rows of equal segments, with their gen-PPL."""

from .curve import time_axis
from .notes import with_half


def draw(ax, rows: list[dict], colours: dict):
    """rows: of `search`, the first on top; `segments` has a letter each, H or L, the start of
    sampling first.

    colours: {"H": colour and "L": colour}. To the right stands the gen-PPL with half of its 95%
    interval."""
    for y, row in enumerate(rows):
        width = 1 / len(row["segments"])
        for k, letter in enumerate(row["segments"]):
            ax.barh(
                y,
                -width,
                left=1 - k * width,
                height=0.8,
                color=colours[letter],
                edgecolor="white",
                linewidth=0.6,
            )
        ax.text(-0.03, y, with_half(row, "gen_ppl"), va="center_baseline", fontsize=6.5)
    ax.set_yticks(range(len(rows)), [row["rank"] for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    time_axis(ax)
