"""How every figure looks, which colour stands for which model, and how a figure is saved."""

import re
from pathlib import Path
from zlib import crc32

from matplotlib import style
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

COLUMN, WIDE = 3.7, 7.2  # inches: one column and both
INK, FAINT, BASELINE, HEAVY = "#22262e", "#6b7280", "#8a8f98", "#f0b45f"
DEPTHS = [(0, "#b9e3d0"), (0.33, "#45b8a4"), (0.5, "#2f8fc0"), (0.67, "#4560b5"), (0.83, "#47318c"), (1, "#1d1147")]
LIGHTS = LinearSegmentedColormap.from_list("lights", DEPTHS)  # lightness falls all the way: readable without hue
HOUSE = {
    "font.size": 8,
    "text.color": INK,
    "text.parse_math": False,  # a $ in a file name is a $
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.limits": (-4, 5),
    "axes.xmargin": 0.0,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.4,
    "figure.constrained_layout.use": True,
    "figure.dpi": 200,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "svg.hashsalt": "stepimp",
}
METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None}}  # what is left depends on the rows alone


def house():
    """A context in which figures are made and saved, whatever the user's own matplotlibrc says."""
    return style.context(HOUSE, after_reset=True)


def blocks_of(model: str) -> int | None:
    """The size a name states: 4 for `4b`, 12 for `runs/12b_seed2`, None where it states none."""
    found = re.findall(r"(?<![A-Za-z0-9])(\d+)b(?![A-Za-z0-9])", model, re.IGNORECASE)
    return int(found[-1]) if found else None


def colour(model: str, heavy: str, baseline: str | None = None):
    """The colour of a model, the same in every figure: the deeper a light model, the darker.

    The place on the scale is the share of the heavy model's depth, so other models in the figure change nothing.
    """
    if model in (heavy, baseline):
        return HEAVY if model == heavy else BASELINE
    depth, full = blocks_of(model), blocks_of(heavy)
    share = depth / full if depth and full else crc32(model.encode()) % 101 / 100
    return LIGHTS(min(share, 1.0))


def colours(params: dict) -> dict:
    """{model: colour} of all models that a results document names in its parameters."""
    heavy, baseline = params["heavy"], params.get("baseline")
    return {model: colour(model, heavy, baseline) for model in filter(None, [heavy, *params["lights"], baseline])}


def legend(figure: Figure):
    """One legend above all panels: each label once."""
    handles = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=min(len(handles), 5))


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Writes name.png and name.pdf, each whole or not at all; the same figure gives the same bytes."""
    paths = [folder / f"{name}.{kind}" for kind in METADATA]
    for path, (kind, metadata) in zip(paths, METADATA.items()):
        scratch = path.with_name(path.name + ".tmp")
        try:
            figure.savefig(scratch, format=kind, metadata=metadata)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    return paths
