"""Figures 5 and 12: KL(heavy || light) over t, raw, of the other-seed baseline, and relative;
formula (6).
"""

from stepimp.paper.peak import by_model

from .curve import curve, curves, mark_paper_peak, time_axis
from .style import BASELINE, BASELINE_DASHES

TITLES = {
    "kl_nats": "KL(heavy || light)",
    "baseline_kl_nats": "Baseline KL",
    "relative_kl_nats": "Relative KL",
}


def draw(ax, rows: list[dict], colours: dict, column: str = "relative_kl_nats", **line):
    """One column of `kl` rows per light model; the baseline, which all share, once.

    colours: model -> colour. line: what `curve` takes, such as band=False.
    """
    mark_paper_peak(ax)
    if column == "baseline_kl_nats":
        first = next(iter(by_model(rows).values()))
        label = "two seeds of the heavy model"
        curve(ax, first, column, label=label, color=BASELINE, dashes=BASELINE_DASHES, **line)
    else:
        curves(ax, rows, column, colours, **line)
    ax.set(title=TITLES[column], ylabel="nats per masked position")
    time_axis(ax)
