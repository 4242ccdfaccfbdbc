"""Figure 4: the loss difference between light and heavy over t, formula (5)."""

from .curve import curves, mark_paper_peak, time_axis

PANELS = {
    "loss_abs_diff_nats": ("Absolute difference", "E |CE light − CE heavy| (nats)"),
    "loss_diff_nats": ("Signed difference", "E [CE light − CE heavy] (nats)"),
}


def draw(ax, rows: list[dict], colours: dict, column: str = "loss_abs_diff_nats"):
    """One column of `loss` rows per light model with its 95% band. colours: model -> colour."""
    mark_paper_peak(ax)
    curves(ax, rows, column, colours)
    if column == "loss_diff_nats":
        ax.axhline(0, color=ax.spines["left"].get_edgecolor(), linewidth=0.6, zorder=1)
    title, label = PANELS[column]
    ax.set(title=title, ylabel=label)
    time_axis(ax)
