"""What the curve figures share: a line with its band per model, over a time axis that runs as
sampling does.
"""

from stepimp.paper.peak import PAPER_PEAK, values


def curve(ax, rows: list[dict], column: str, band: bool = True, **line):
    """One model's column over t, with its 95% band."""
    t = values(rows, "t")
    (drawn,) = ax.plot(t, values(rows, column), **line)
    if band:
        low, high = values(rows, f"{column}_low"), values(rows, f"{column}_high")
        ax.fill_between(t, low, high, color=drawn.get_color(), alpha=0.18, linewidth=0)


def time_axis(ax):
    """t from 1, where sampling starts, to 0, where it ends."""
    ax.set_xlim(1, 0)
    ax.set_xticks([1, 0.75, 0.5, 0.25, 0], ["1", "0.75", "0.5", "0.25", "0"])
    ax.set_xlabel("t (start of sampling → its end)")


def mark_paper_peak(ax):
    """Shades the times at which the paper finds the peak."""
    ax.axvspan(*PAPER_PEAK, color="#f1f2f4", linewidth=0, zorder=0)
