"""docs/gallery.md: a picture of every figure, and lines of Python that draw it as they are."""

import re
from pathlib import Path

import pytest

from stepimp.paper.contents import DRAWN, FIGURES, OPTIONAL
from stepimp.paper.describe import reference_folder
from stepimp.paper.needs import find_documents
from stepimp.plots import style

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "gallery.md").read_text("utf-8")
DOCUMENTS = find_documents(reference_folder())
SHOWN = [name for name, item in DRAWN.items() if DOCUMENTS[item.need] or item.need not in OPTIONAL]
# name: its part of the page
ENTRIES = dict(zip(SHOWN, PAGE.split("\n## ")[1:]))


def test_the_gallery_has_every_figure():
    assert PAGE.count("\n## ") == len(SHOWN), "write it again: python docs/make_gallery.py"


@pytest.mark.parametrize("name", SHOWN)
def test_each_figure_has_its_picture_its_commands_and_six_lines(name):
    entry, document = ENTRIES[name], DOCUMENTS[DRAWN[name].need]
    assert entry.startswith(f"Figure {name[6:]}\n" if name in FIGURES else f"{name.capitalize()}\n")
    picture = ROOT / "docs" / f"gallery/{name}.png"
    assert f"](gallery/{name}.png)" in entry and picture.stat().st_size < 100_000
    commands = re.search(r"```sh\n(.*?)\n```", entry, re.DOTALL)[1].splitlines()
    arguments = document["provenance"]["command_line"].split()[1:]
    assert commands[0].split() == ["stepimp", *arguments]
    assert commands[1] == f"stepimp figures --only {name.removeprefix('figure')}"
    assert len(lines_of(entry).splitlines()) == 6


def lines_of(entry):
    return re.search(r"```python\n(.*?)\n```", entry, re.DOTALL)[1]


@pytest.mark.parametrize("name", SHOWN)
def test_the_lines_draw_the_figure(name, tmp_path, monkeypatch):
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(style, "METADATA", {"png": {}})  # the other formats take as long again
    exec(lines_of(ENTRIES[name]), {})
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_all_documents_of_the_reference_run_are_needed():
    paths = {Path(document["path"]).name for document in DOCUMENTS.values() if document}
    assert paths == {path.name for path in reference_folder().glob("*.json")}
