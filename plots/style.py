"""How every figure looks, which colour stands for which model, and how a figure is saved."""

from contextlib import contextmanager
from pathlib import Path

import seaborn
from matplotlib import style
from matplotlib.figure import Figure

from stepimp.scratch import writing

COLUMN, WIDE = 3.7, 7.2  # inches: one column and both
INK, FAINT, LINE = "#22262e", "#565d69", "#8a8f98"
SMALL = 6.5  # points of the smallest text
HEAVY, BASELINE = "#f5c869", "#6f747c"  # paler than every light model, and grey
LIGHT_SEGMENT, HEAVY_SEGMENT = "#c1272d", "#e3e6ea"  # of Figure 2: red and nearly white
LIGHTS = seaborn.color_palette("crest", as_cmap=True)  # the lightness falls: readable in grey
DASHES = ("", (5, 1.5), (3, 1, 1, 1), (1, 1))  # of the light models, the shallowest first
BASELINE_DASHES = (6, 1.2, 1, 1.2, 1, 1.2)
THEME = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "text.color": INK,
    "text.parse_math": False,  # a $ in a file name is a $
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.linewidth": 0.6,
    "axes.formatter.limits": (-4, 5),
    "axes.xmargin": 0.0,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "patch.linewidth": 0.0,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.4,
    "figure.constrained_layout.use": True,
    "figure.dpi": 200,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "svg.hashsalt": "stepimp",
}
# what is left depends on the rows alone
METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


@contextmanager
def house():
    """The theme in which figures are made and saved, whatever the user's own matplotlibrc says."""
    with style.context("default", after_reset=True):
        theme = seaborn.axes_style("ticks", {"axes.spines.top": False, "axes.spines.right": False})
        with style.context([theme, seaborn.plotting_context("paper"), THEME]):
            yield


def colours(document: dict) -> dict[str, str | tuple]:
    """{model: colour} of the models of a results document: the more of the heavy model's blocks,
    the darker.

    A model has the same colour in every figure, whichever others are in it.
    """
    params, blocks = document["params"], document["blocks"]
    heavy, baseline = params["heavy"], params.get("baseline")
    lights = params["lights"] if "lights" in params else [params["light"]]
    shades = {light: LIGHTS(min(blocks[light] / blocks[heavy], 1.0)) for light in lights}
    return shades | {heavy: HEAVY} | ({baseline: BASELINE} if baseline else {})


def save(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Writes name.png, name.pdf and name.svg, each whole or not at all; the same figure gives the
    same bytes. Raises StepimpError where one cannot be written.
    """
    paths = [Path(folder) / f"{name}.{kind}" for kind in METADATA]
    for path, (kind, metadata) in zip(paths, METADATA.items()):
        with writing(path) as scratch, house():
            figure.savefig(scratch, format=kind, metadata=metadata)
    return paths
