"""Every figure by its name, each built from one results document alone.

To add one: write its `draw` in a file of its own, a function here or beside similar ones that
takes the document and returns the Figure, and its title and need in stepimp.paper.contents.
"""

from collections.abc import Callable

from matplotlib.figure import Figure

from stepimp.paper.contents import DRAWN

from . import comparisons, costs, over_time, searches
from .style import house

BUILDS: dict[str, Callable[[dict], Figure]] = {
    name: (comparisons.BUILDS | searches.BUILDS | over_time.BUILDS | costs.BUILDS)[name]
    for name in DRAWN
}


def draw(name: str, document: dict) -> Figure:
    """The figure of this name. Raises LookupError for a document that lacks a part of it.

    document: what `stepimp.paper.needs` finds for the figure, or one of `read_document`.
    """
    with house():
        return BUILDS[name](document)
