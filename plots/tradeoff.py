"""The trade-off: the least predicted objective for every budget, and where known schedules lie."""

from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from .style import FAINT, HEAVY, INK, SMALL

OBJECTIVES = {
    "kl": "predicted KL (nats per token)",
    "relative_kl": "predicted relative KL (nats per token)",
    "loss": "predicted loss difference (nats)",
    "nelbo": "predicted NELBO (nats per token)",
}
BUDGETS = {
    "light_fraction": "light fraction of the steps",
    "saved_flops": "saved FLOPs of the blocks",
}
# Shares of the width: from a point to its label, and up to where labels of two points may meet.
ASIDE, REACH = 0.06, 0.24


def objective_of(params: dict) -> str:
    """What a recommendation minimises, a key of OBJECTIVES."""
    return "relative_kl" if params["by"] == "kl" and params["baseline"] else params["by"]


def budget_of(params: dict) -> str:
    """The column that holds the budget of a recommendation, a key of BUDGETS."""
    return "saved_flops" if params["save_flops"] else "light_fraction"


def spread(points: list[tuple], reach: float, gap: float) -> list[float]:
    """Heights of labels for points (x, y) in the order of y: pushed up until those within `reach`
    are `gap` apart.
    """
    placed: list[tuple[float, float]] = []
    for x, y in points:
        placed.append(
            (x, max([y, *(below + gap for other, below in placed if abs(other - x) < reach)]))
        )
    return [y for _, y in placed]


def label(ax, name: str, point: tuple, at: tuple, side: str):
    """The name of a schedule beside its point, with a hair line to it. side: where the text is
    anchored.
    """
    ax.annotate(
        name,
        point,
        at,
        ha=side,
        va="center",
        fontsize=SMALL,
        path_effects=[withStroke(linewidth=2, foreground="white")],
        arrowprops={
            "arrowstyle": "-",
            "linewidth": 0.5,
            "color": FAINT,
            "shrinkA": 1,
            "shrinkB": 2,
            "relpos": (float(side == "right"), 0.5),
        },
    )


def mark(ax, x: float, y: float, chosen: bool):
    """A dot, or a star for the recommended schedule."""
    marker, size, colour = ("*", 11, HEAVY) if chosen else ("o", 4.5, FAINT)
    ax.plot(
        x,
        y,
        marker=marker,
        markersize=size,
        color=colour,
        linestyle="",
        markeredgecolor="white",
        markeredgewidth=0.6,
        clip_on=False,
        zorder=3 + chosen,
    )


def draw(
    ax, rows: list[dict], frontier: list[dict], by: str = "kl", budget: str = "light_fraction"
):
    """rows: the compared schedules, as named points; frontier: the best ones. Both hold `objective`
    and the budget.
    """
    best = sorted((row[budget], row["objective"]) for row in frontier)
    points = sorted(
        ((row["name"], (row[budget], row["objective"])) for row in rows),
        key=lambda point: point[1][1],
    )
    ax.plot(*zip(*best), color=INK, zorder=2)
    width, rising = best[-1][0], best[-1][1] >= best[0][1]
    heights = [y for _, (_, y) in points] + [y for _, y in best]
    gap = 0.07 * (max(heights) - min(heights))
    # All points lie on the line or above it: the names of its lower end and of the best go below,
    # all others above.
    below = ("recommended", "all-heavy" if rising else "all-light")
    above = iter(spread([point for name, point in points if name not in below], REACH * width, gap))
    for name, (x, y) in points:
        mark(ax, x, y, name == "recommended")
        right = x < 0.2 * width or (x < 0.8 * width and (name in below) == rising)
        at = (x + (ASIDE if right else -ASIDE) * width, y - gap if name in below else next(above))
        if name in below and not right:
            at = (max(at[0], (REACH + 0.02) * width), at[1])  # not over the axis
        label(ax, name, (x, y), at, "left" if right else "right")
    ax.set(xlabel=BUDGETS[budget], ylabel=OBJECTIVES[by])
    ax.set(xlim=(0, width), ylim=(min(heights) - 2 * gap, max(heights) + 2 * gap))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
