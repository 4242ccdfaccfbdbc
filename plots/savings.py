"""What a share of light steps saves: FLOPs as counted, seconds as measured, beside the paper's
Table 2.
"""

from matplotlib.ticker import PercentFormatter

from stepimp.paper.peak import values

from .style import FAINT, INK

LINES = {
    "saved_flops": ("FLOPs of the blocks, formula (3)", INK, "--"),
    "saved_flops_exact": ("FLOPs, exact count of the run", "#2f8fc0", ":"),
    "saved_seconds": ("seconds, measured", "#45b8a4", "-"),
}


def draw(ax, rows: list[dict], paper: list[dict]):
    """rows: the `saving` rows of a profile or sandwiches of a comparison; paper: rows of its Table
    2, in percent.
    """
    rows = sorted(rows, key=lambda row: row["light_fraction"])
    x = [row["light_fraction"] for row in rows]
    for column, (label, colour, style) in LINES.items():
        ax.plot(x, values(rows, column), style, color=colour, label=label)
    low, high = (values(rows, "saved_seconds" + end) for end in ("_low", "_high"))
    ax.fill_between(x, low, high, color=LINES["saved_seconds"][1], alpha=0.18, linewidth=0)
    fractions = [row["light_pct"] / 100 for row in paper]
    for column, label, marker in (
        ("saved_flops_pct", "paper: FLOPs", "_"),
        ("speedup_pct", "paper: seconds", "x"),
    ):
        ax.plot(
            fractions,
            [row[column] / 100 for row in paper],
            marker,
            color=FAINT,
            markersize=4,
            label=label,
            clip_on=False,
        )
    ax.set(xlabel="light fraction of the steps", ylabel="saved against all-heavy", xlim=(0, 1))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
