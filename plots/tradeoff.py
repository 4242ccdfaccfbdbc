"""The trade-off: the least predicted objective for every light fraction, and where known schedules lie."""

from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from .style import FAINT, HEAVY, INK

OBJECTIVES = {
    "kl": "predicted relative KL (nats per token)",
    "loss": "predicted loss difference (nats)",
    "nelbo": "predicted NELBO (nats per token)",
}
BELOW = ("recommended", "all-heavy")  # on the frontier, which rises: the room is below it, to the right


def spread(heights: list[float], gap: float) -> list[float]:
    """Sorted heights pushed up until neighbours are at least `gap` apart."""
    placed = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap) if placed else height)
    return placed


def label(ax, row: dict, offset_x: float, y: float, side: str):
    """The name of a schedule beside its point, with a hair line where it had to move."""
    x = row["light_fraction"]
    ax.annotate(
        row["name"], (x, row["objective"]), (x + offset_x, y), ha=side, va="center", fontsize=6.5,
        arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": FAINT, "shrinkA": 1, "shrinkB": 2,
                    "relpos": (float(side == "right"), 0.5)},
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )  # fmt: skip


def draw(ax, frontier: list[dict], rows: list[dict], by: str = "kl"):
    """frontier: {light_fraction, objective_nats} of the best schedules; rows: the compared schedules as named points."""
    best = sorted(frontier, key=lambda one: one["light_fraction"])
    ax.plot([one["light_fraction"] for one in best], [one["objective_nats"] for one in best], color=INK, zorder=2)
    for row in rows:
        chosen = row["name"] == "recommended"
        ax.plot(row["light_fraction"], row["objective"], linestyle="", marker="*" if chosen else "o", zorder=4 if chosen else 3,
                markersize=11 if chosen else 4.5, color=HEAVY if chosen else FAINT, markeredgecolor="white",
                markeredgewidth=0.6, clip_on=False)  # fmt: skip
    heights = [row["objective"] for row in rows] + [one["objective_nats"] for one in best]
    gap = 0.07 * (max(heights) - min(heights))
    for row in (row for row in rows if row["name"] in BELOW):
        label(ax, row, 0.05, row["objective"] - gap, "left")
    beside = sorted((row for row in rows if row["name"] not in BELOW), key=lambda row: row["objective"])
    for row, y in zip(beside, spread([row["objective"] for row in beside], gap)):
        right = row["light_fraction"] < 0.2
        label(ax, row, 0.06 if right else -0.06, y, "left" if right else "right")
    ax.set(xlabel="light fraction of the steps", ylabel=OBJECTIVES[by], xlim=(0, 1))
    ax.set_ylim(min(heights) - 2 * gap, max(heights) + 2 * gap)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
