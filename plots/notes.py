"""The small print in a figure, which is all of its caption: what it shows, what was measured, and
how to read it.
"""

import math
import textwrap

from stepimp.paper.needs import family_name
from stepimp.paper.peak import listing

from .style import FAINT

CHARACTERS_PER_INCH = 22


def measured(document: dict) -> str:
    """Models, sequences, corpus and version behind the curves of a document."""
    rows, params = (
        document.get("curves", document["rows"]),
        document.get("curve_params", document["params"]),
    )
    counts = sorted({row["sequences"] for row in rows})
    sequences = " to ".join(str(count) for count in dict.fromkeys([counts[0], counts[-1]]))
    corpus = (
        f"sampled from {params['heavy']}"
        if params["inputs"] == "samples"
        else f"of {params['data']}"
    )
    baseline = f", baseline {params['baseline']}" if params["baseline"] else ""
    models = f"Family {family_name(document)}, heavy {params['heavy']}, light {listing(params['lights'])}{baseline}"
    return f"{models}; {sequences} sequences {corpus}; stepimp {document['provenance']['version']}."


def with_half(row: dict, column: str) -> str:
    """A value and half the width of its 95% interval, both to two digits of that half, or to whole
    numbers.
    """
    half = (row[column + "_high"] - row[column + "_low"]) / 2
    digits = max(0, 1 - math.floor(math.log10(half))) if half > 0 else 2
    return f"{row[column]:.{digits}f} ±{half:.{digits}f}"


def footnote(figure, *paragraphs: str):
    """Small text below the panels, each paragraph wrapped to the width of the figure."""
    width = int(figure.get_figwidth() * CHARACTERS_PER_INCH)
    # A constrained layout makes room for a figure's x label, and for no other text.
    whole = (one.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}") for one in paragraphs)
    text = "\n".join(textwrap.fill(one, width, break_on_hyphens=False) for one in whole)
    figure.supxlabel(text, x=0.01, ha="left", fontsize=5.8, color=FAINT, linespacing=1.35)
