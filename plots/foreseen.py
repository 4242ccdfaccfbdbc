"""The measured gen-PPL of each coarse schedule against what the curves predict of it."""

import seaborn
from matplotlib.ticker import MaxNLocator

from .style import INK

COLUMNS = {
    "predicted_path_kl_nats": "predicted path KL (nats per token)",
    "predicted_nelbo_nats": "predicted NELBO (nats per token)",
    "predicted_relative_kl_nats": "predicted relative KL (nats per token)",
}


def draw(ax, rows: list[dict], column: str, colour):
    """A dot per row of `search` with its 95% interval; the best found is a star."""
    x, y = [row[column] for row in rows], [row["gen_ppl"] for row in rows]
    low, high = ([row["gen_ppl" + end] for row in rows] for end in ("_low", "_high"))
    ax.vlines(x, low, high, color=colour, linewidth=0.5, alpha=0.25)
    seaborn.scatterplot(x=x, y=y, s=7, color=colour, linewidth=0, ax=ax)
    ax.plot(
        x[:1], y[:1], "*", markersize=8, color=INK, markeredgecolor="white", markeredgewidth=0.5
    )
    ax.set(xlabel=COLUMNS[column], ylabel="gen-PPL", xmargin=0.03)
    ax.autoscale_view()
    ax.xaxis.set_major_locator(MaxNLocator(4))
