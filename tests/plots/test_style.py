"""Colours, and files: the same bytes every time, whole or not at all, drawn with seaborn alone."""

import json
import os
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from by_hand import curves, sizes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from stepimp.errors import StepimpError
from stepimp.plots import breakdown, style


def lightness(colour):
    return np.dot(to_rgb(colour), [0.2126, 0.7152, 0.0722])


def test_colours_are_stable_and_told_apart_without_hue():
    several = style.colours(curves(lights=["8b", "4b"]))
    assert several["8b"] == style.colours(curves(lights=["8b"], baseline=None))["8b"]
    assert several["4b"] == style.colours(sizes())["4b"]
    assert (several["12b"], several["12b_seed2"]) == (style.HEAVY, style.BASELINE)
    shades = [lightness(style.LIGHTS(share)) for share in np.linspace(0, 1, 13)]
    assert (np.diff(shades) < 0).all(), "the deeper the darker"
    assert lightness(style.HEAVY) - lightness(several["4b"]) > 0.2, "heavy is the palest"
    assert lightness(style.HEAVY_SEGMENT) - lightness(style.LIGHT_SEGMENT) > 0.5
    assert (np.diff([lightness(colour) for colour in breakdown.PARTS.values()]) > 0.1).all()


SAVE = """
import json, sys
from stepimp.plots.figures import draw
from stepimp.plots.style import save
for name, document in json.load(sys.stdin).items():
    save(draw(name, document), sys.argv[1], name)
assert "torch" not in sys.modules
"""


def test_a_saved_figure_is_the_same_bytes_in_another_process(tmp_path):
    documents = json.dumps({"figure5": curves(), "figure1": sizes()})
    for place, hashes in (("a", "1"), ("b", "2")):
        (tmp_path / place).mkdir()
        environment = os.environ | {"PYTHONHASHSEED": hashes, "SOURCE_DATE_EPOCH": hashes}
        command = [sys.executable, "-c", SAVE, tmp_path / place]
        subprocess.run(command, input=documents, text=True, check=True, env=environment)
    names = [f"{name}.{kind}" for name in ("figure1", "figure5") for kind in ("pdf", "png", "svg")]
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == names
    for name in names:
        first, second = ((tmp_path / place / name).read_bytes() for place in "ab")
        assert first == second and len(first) > 1000
    assert b"CreationDate" not in (tmp_path / "a" / "figure5.pdf").read_bytes()


def test_a_failed_save_leaves_the_old_figure(tmp_path):
    class Full(Figure):
        def savefig(self, file, **options):
            file.write_bytes(b"half")
            raise OSError("disk full")

    (tmp_path / "figure.png").write_bytes(b"old")
    with pytest.raises(StepimpError, match="figure.png .disk full"):
        style.save(Full(), tmp_path, "figure")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [
        ("figure.png", b"old")
    ]


def test_the_users_own_style_does_not_matter():
    with matplotlib.rc_context({"font.size": 40, "axes.facecolor": "red"}):
        with style.house():
            assert matplotlib.rcParams["font.size"] == 8
            assert matplotlib.rcParams["axes.facecolor"] == "white"
        assert matplotlib.rcParams["font.size"] == 40


def test_seaborn_is_imported_only_where_something_is_drawn(python):
    python("""
import sys
import stepimp.paper.tables, stepimp.paper.formats, stepimp.paper.claims, stepimp.paper.resolution
import stepimp.commands._edition
assert not {"seaborn", "matplotlib", "torch"} & sys.modules.keys()
import stepimp.plots.figures
assert "seaborn" in sys.modules and "torch" not in sys.modules
""")
