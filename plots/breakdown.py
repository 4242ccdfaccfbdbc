"""Where the time goes: stacked bars of the parts of sampling."""

from matplotlib.ticker import PercentFormatter

from .style import SMALL

# from dark to pale: distinguishable without hue
PARTS = {"body": "#2b4a7f", "projection": "#4f9d8f", "draw": "#f3c469", "rest": "#e0e3e7"}


def draw(ax, rows: list[dict]):
    """rows: the `part` rows of a profile. One bar per model and way of sampling, as shares of its
    time.
    """
    bars = list(dict.fromkeys((row["model"], row["sampler"]) for row in rows))
    starts = dict.fromkeys(bars, 0.0)
    for part, colour in PARTS.items():
        for y, bar in enumerate(bars):
            share = sum(
                row["share"]
                for row in rows
                if (row["model"], row["sampler"], row["part"]) == (*bar, part)
            )
            ax.barh(
                y, share, left=starts[bar], height=0.7, color=colour, edgecolor="white", label=part
            )
            starts[bar] += share
    bounds = {(row["model"], row["sampler"]): row["speedup_bound"] for row in rows}
    for y, bar in enumerate(bars):
        ax.text(1.02, y, f"at most {bounds[bar]:.1f}x", va="center_baseline", fontsize=SMALL)
    ax.set_yticks(range(len(bars)), [f"{model}, {way}" for model, way in bars])
    ax.set(ylim=(len(bars) - 0.5, -0.5), xlim=(0, 1), xlabel="share of the sampling time")
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
