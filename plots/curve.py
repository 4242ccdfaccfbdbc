"""What the curve figures share: a line with its band per model, over a time axis that runs as
sampling does.
"""

import numpy as np
import seaborn

from stepimp.paper.peak import PAPER_PEAK, by_model, values

from .style import DASHES


def curve(ax, rows: list[dict], column: str, band: bool = True, dashes=(), **line):
    """One model's column over t, with its 95% band. dashes: lengths of dashes and of gaps."""
    t, height = values(rows, "t"), values(rows, column)
    seaborn.lineplot(x=t, y=height, errorbar=None, estimator=None, ax=ax, legend=False, **line)
    drawn = ax.lines[-1]
    if len(dashes):
        drawn.set_dashes(dashes)
    if band:
        low, high = values(rows, f"{column}_low"), values(rows, f"{column}_high")
        if np.isfinite(low).any():
            ax.fill_between(t, low, high, color=drawn.get_color(), alpha=0.18, linewidth=0)


def curves(ax, rows: list[dict], column: str, colours: dict, **line):
    """One column of all light models, distinguished by lightness and by dashes."""
    for k, (model, curve_rows) in enumerate(by_model(rows).items()):
        look = {"color": colours[model], "dashes": DASHES[k % len(DASHES)], "label": model}
        curve(ax, curve_rows, column, **look, **line)


def time_axis(ax):
    """t from 1, where sampling starts, to 0, where it ends."""
    ax.set_xlim(1, 0)
    ax.set_xticks([1, 0.75, 0.5, 0.25, 0], ["1", "0.75", "0.5", "0.25", "0"])
    ax.set_xlabel("t (start of sampling → its end)")


def mark_paper_peak(ax):
    """Shades the times at which the paper finds the peak."""
    ax.axvspan(*PAPER_PEAK, color="#eff0f2", linewidth=0, zorder=0)
