"""Every figure by its name, each built from one results document alone.

CONTRIBUTING.md says how to add one.
"""

from collections.abc import Callable
from typing import Any, Protocol

from matplotlib.figure import Figure

from stepimp.errors import StepimpError
from stepimp.paper.contents import DRAWN
from stepimp.paper.needs import kinds
from stepimp.wording import nearest

from . import comparisons, costs, over_time, searches
from .style import house

BUILDS: dict[str, Callable[[dict], Figure]] = {
    **comparisons.BUILDS,
    **searches.BUILDS,
    **over_time.BUILDS,
    **costs.BUILDS,
}


class Result(Protocol):
    """What `stepimp.curves` and the other functions return."""

    document: dict[str, Any]


def draw(name: str, document: dict | Result) -> Figure:
    """The figure of this name, such as "figure5" or "tradeoff"; docs/figures.md lists them.

    document: what `stepimp.paper.needs` finds for the figure, one of `read_document`, or a result
    of the Python functions that holds one. Raises StepimpError for a name that no figure has and a
    document of another kind, LookupError for one that lacks a part of the figure.
    """
    if name not in BUILDS:
        raise StepimpError(
            f"No figure {name!r}: choose one of {', '.join(BUILDS)}.{nearest(name, BUILDS)}"
        )
    document = document if isinstance(document, dict) else document.document
    fitting = kinds(DRAWN[name].need)
    if document["command"] not in fitting:
        raise StepimpError(
            f"{name} is drawn from a document of {' or '.join(sorted(fitting))}, not of "
            f"{document['command']}."
        )
    with house():
        return BUILDS[name](document)
