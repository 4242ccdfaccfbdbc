"""How every figure looks, which colour stands for which model, and how a figure is saved."""

from pathlib import Path

from matplotlib import style
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

COLUMN, WIDE = 3.7, 7.2  # inches: one column and both
INK, FAINT, BASELINE, HEAVY = "#22262e", "#6b7280", "#8a8f98", "#f0b45f"
DEPTHS = [
    (0, "#b9e3d0"),
    (0.33, "#45b8a4"),
    (0.5, "#2f8fc0"),
    (0.67, "#4560b5"),
    (0.83, "#47318c"),
    (1, "#1d1147"),
]
LIGHTS = LinearSegmentedColormap.from_list(
    "lights", DEPTHS
)  # lightness falls all the way: readable without hue
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
# what is left depends on the rows alone
METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def house():
    """A context in which figures are made and saved, whatever the user's own matplotlibrc says."""
    return style.context(HOUSE, after_reset=True)


def colours(document: dict) -> dict:
    """{model: colour} of the models of a results document: the more of the heavy model's blocks,
    the darker.

    A model has the same colour in every figure, whichever others are in it.
    """
    params, blocks = document["params"], document["blocks"]
    heavy, baseline = params["heavy"], params.get("baseline")
    lights = params["lights"] if "lights" in params else [params["light"]]
    shades = {light: LIGHTS(min(blocks[light] / blocks[heavy], 1.0)) for light in lights}
    return shades | {heavy: HEAVY} | ({baseline: BASELINE} if baseline else {})


def legend(figure: Figure):
    """One legend above all panels: each label once."""
    handles = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    each = sum(len(label) + 6 for label in handles) / len(
        handles
    )  # in characters; an inch holds 16
    columns = max(1, int(figure.get_figwidth() * 16 / each))
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside upper center",
        ncols=min(columns, len(handles)),
    )


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Writes name.png, name.pdf and name.svg, each whole or not at all; the same figure gives the
    same bytes.
    """
    paths = [folder / f"{name}.{kind}" for kind in METADATA]
    for path, (kind, metadata) in zip(paths, METADATA.items()):
        scratch = path.with_name(path.name + ".tmp")
        try:
            figure.savefig(scratch, format=kind, metadata=metadata)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    return paths
