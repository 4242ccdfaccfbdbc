"""Ways to use two models: the NELBO of each, less that of the best schedule over steps."""

from stepimp.intervals import Estimate

from .bars import Bar, interval, margin, rows_of
from .style import INK, LINE

MEASURED = {"marker": "o", "markersize": 4.5, "markeredgecolor": INK, "markeredgewidth": 0.5}
PREDICTED = {"marker": "D", "markersize": 3.6, "markeredgecolor": INK, "markeredgewidth": 0.8}


def draw(ax, rows: list[dict], reference: dict, colour):
    """For each policy the measured difference with its 95% interval, and the predicted one.

    rows: `PolicyRow`s, the first on top; reference: the row of the best schedule over steps.
    """
    bars = [Bar(row["name"], Estimate.of(row, "nelbo_diff_nats"), colour) for row in rows]
    for y, (row, bar) in enumerate(zip(rows, bars)):
        difference = bar.estimate
        interval(ax, difference.value, y - 0.14, difference)
        look = {"linestyle": "", "zorder": 4}
        ax.plot(difference.value, y - 0.14, color=colour, label="measured", **MEASURED | look)
        predicted = row["predicted_nelbo_nats"] - reference["predicted_nelbo_nats"]
        ax.plot(predicted, y + 0.2, color="white", label="predicted", **PREDICTED | look)
    ax.axvline(0, color=LINE, linewidth=0.8, zorder=1)
    rows_of(ax, bars, "NELBO less that of the best over steps (nats per token)")
    costs = [f"{row['heavy_forwards']:.1f}, {row['verdict']}" for row in rows]
    margin(ax, costs, "cost, verdict")
    ax.margins(x=0.06)
    ax.autoscale_view(scaley=False)
