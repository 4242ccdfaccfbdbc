"""Writes docs/gallery.md and its images from the reference run: python docs/make_gallery.py."""

from pathlib import Path

from PIL import Image

from stepimp.paper.contents import DRAWN, FIGURES
from stepimp.paper.describe import reference_folder
from stepimp.paper.needs import find_documents
from stepimp.plots.figures import draw
from stepimp.plots.notes import words
from stepimp.plots.style import METADATA, house

HERE = Path(__file__).parent
DPI = 110  # pixels per inch of the images
SHADES = 128
HEAD = """# Gallery

Every figure of `stepimp figures`, drawn from the reference run on the bundled families that is
shipped in fixtures/reference; figures 1 to 14 are numbered as in the second version of the paper,
those below them are our own. Each has the command that measures it, the command that draws it from
the newest results, and six lines of Python that draw it from a results document of one's choice;
they write PNG, PDF and SVG. `python docs/make_gallery.py` makes this page.
"""
ENTRY = """
## {heading}

{title}.

![{heading}]({image})

```sh
{measure}
stepimp figures --only {only}
```

```python
from stepimp.plots.figures import draw
from stepimp.plots.style import save
from stepimp.documents import read_document

document = read_document("fixtures/reference/{file}")
save(draw("{name}", document), ".", "{name}")
```
"""


def command(document: dict) -> str:
    """The command line that made a document, however it was called."""
    _, _, arguments = document["provenance"]["command_line"].partition(" ")
    return f"stepimp {arguments}"


def entry(name: str, document: dict, title: str) -> str:
    """One figure's part of the page. title: as the figure has it."""
    heading, _, rest = title.partition(". ") if name in FIGURES else (name.capitalize(), "", title)
    return ENTRY.format(
        heading=heading,
        title=rest,
        image=f"gallery/{name}.png",
        measure=command(document),
        only=name.removeprefix("figure"),
        file=Path(document["path"]).name,
        name=name,
    )


def save_small(figure, path: Path):
    """A PNG of few colours and no metadata."""
    with house():
        figure.savefig(path, dpi=DPI, metadata=METADATA["png"])
    with Image.open(path) as image:
        image.convert("RGB").quantize(SHADES).save(path, optimize=True)


def main():
    documents = find_documents(reference_folder())
    (HERE / "gallery").mkdir(exist_ok=True)
    page = HEAD
    for name, item in DRAWN.items():
        if document := documents[item.need]:
            figure = draw(name, document)
            save_small(figure, HERE / "gallery" / f"{name}.png")
            page += entry(name, document, words(figure)[0])
    (HERE / "gallery.md").write_text(page, "utf-8")


if __name__ == "__main__":
    main()
