"""Figure 6: the measured gen-PPL of each coarse schedule against what the curves foresaw of it."""

from matplotlib.ticker import MaxNLocator

from .style import INK

COLUMNS = {
    "predicted_path_kl_nats": "predicted path KL (nats per token)",
    "predicted_nelbo_nats": "predicted NELBO (nats per token)",
    "predicted_relative_kl_nats": "predicted relative KL (nats per token)",
}


def draw(ax, rows: list[dict], column: str, colour: str):
    """A dot per row of `search` with its 95% interval; the best found is a star."""
    x, y = [row[column] for row in rows], [row["gen_ppl"] for row in rows]
    low, high = ([row["gen_ppl" + end] for row in rows] for end in ("_low", "_high"))
    ax.vlines(x, low, high, color=colour, linewidth=0.5, alpha=0.25)
    ax.plot(x, y, "o", markersize=2.4, color=colour, markeredgewidth=0)
    ax.plot(
        x[:1], y[:1], "*", markersize=8, color=INK, markeredgecolor="white", markeredgewidth=0.5
    )
    ax.set(xlabel=COLUMNS[column], ylabel="gen-PPL", xmargin=0.03)
    ax.autoscale_view()
    ax.xaxis.set_major_locator(MaxNLocator(4))
