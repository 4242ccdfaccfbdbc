"""The frontier of plans: the least nats per token for every cost in forward passes, and schedules
of a fixed number of steps above it.
"""

import itertools

from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from .style import DASHES, HEAVY, INK, LINE

MARKERS = "osD^v"
CHEAPEST = 2  # passes shown: with fewer, the nats would hide all differences above


def points_of(rows: list[dict]) -> list[tuple[float, float]]:
    """(cost, nats per token) of each row, the cheapest first."""
    return sorted((row["heavy_forwards"], row["objective"]) for row in rows)


def draw(ax, rows: list[dict], frontier: list[dict], fixed: list[dict]):
    """rows: `PlanRow`s, the recommended one first; frontier: those of the best plans; fixed:
    `FixedRow`s, a line of points for each name.
    """
    ax.plot(*zip(*points_of(frontier)), color=INK, zorder=3, label="best plan")
    names = dict.fromkeys(row["name"] for row in fixed)
    for name, marker, dashes in zip(names, itertools.cycle(MARKERS), itertools.cycle(DASHES)):
        points = points_of([row for row in fixed if row["name"] == name])
        look = {"marker": marker, "markersize": 3, "linewidth": 0.8, "color": LINE}
        (line,) = ax.plot(*zip(*points), label=name, **look)
        if dashes:
            line.set_dashes(dashes)
    chosen = rows[0]
    ax.plot(
        chosen["heavy_forwards"],
        chosen["objective"],
        marker="*",
        markersize=11,
        color=HEAVY,
        markeredgecolor="white",
        markeredgewidth=0.6,
        linestyle="",
        zorder=4,
        label="recommended",
    )
    dearest = max(row["heavy_forwards"] for row in frontier)
    shown = [y for x, y in points_of(frontier) if x >= min(CHEAPEST, dearest / 2)]
    room = 0.05 * (max(shown) - min(shown))
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set(xlim=(min(CHEAPEST, dearest / 2), 1.1 * dearest))
    ax.set(ylim=(min(shown) - room, max(shown) + 4 * room))
    ax.set(xlabel="cost (forward passes of the heavy model)", ylabel="predicted nats per token")
