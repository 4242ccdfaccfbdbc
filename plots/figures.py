"""Every figure by its name, each built from one results document alone.

CONTRIBUTING.md says how to add one.
"""

from collections.abc import Callable

from matplotlib.figure import Figure

from stepimp.wording import nearest

from . import comparisons, costs, over_time, searches
from .style import house

BUILDS: dict[str, Callable[[dict], Figure]] = {
    **comparisons.BUILDS,
    **searches.BUILDS,
    **over_time.BUILDS,
    **costs.BUILDS,
}


def draw(name: str, document: dict) -> Figure:
    """The figure of this name. Raises LookupError for a name that no figure has, and for a document
    that lacks a part of it.

    document: what `stepimp.paper.needs` finds for the figure, or one of `read_document`.
    """
    if name not in BUILDS:
        raise LookupError(f"No figure {name!r}.{nearest(name, BUILDS)}")
    with house():
        return BUILDS[name](document)
