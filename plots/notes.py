"""The words of a figure: its title above, and below it what was measured and how to read it."""

import math
import textwrap

from stepimp.intervals import Estimate

from .style import FAINT, SMALL

TITLE_CHARACTERS, NOTE_CHARACTERS = 13.5, 18.5  # per inch of the figure's width
SPACE = "\N{NO-BREAK SPACE}"


def with_half(estimate: Estimate) -> str:
    """A value and half the width of its 95% interval, both to two digits of that half, or to whole
    numbers; the value alone where there is no interval.
    """
    if math.isnan(estimate.half):
        return f"{estimate.value:.4g}"
    digits = 2
    if estimate.half > 0:
        digits = max(0, 1 - math.floor(math.log10(estimate.half)))
    return f"{estimate.value:.{digits}f} ±{estimate.half:.{digits}f}"


def unbroken(words: str) -> str:
    """With spaces that no line breaks at around an equals sign."""
    return words.replace(" = ", f"{SPACE}={SPACE}")


def annotate(figure, title: str, *notes: str):
    """The title above the panels, and notes below them, each a paragraph as wide as the figure."""
    inches = figure.get_figwidth()
    title_lines = textwrap.fill(unbroken(title), int(inches * TITLE_CHARACTERS))
    figure.suptitle(title_lines, x=0.01, ha="left", fontsize=8, fontweight="bold")
    width = int(inches * NOTE_CHARACTERS)
    lines = [textwrap.fill(unbroken(note), width, break_on_hyphens=False) for note in notes]
    # a constrained layout makes room for a figure's x label, and for no other text below
    figure.supxlabel(
        "\n".join(lines), x=0.01, ha="left", fontsize=SMALL, color=FAINT, linespacing=1.3
    )


def caption(figure) -> str:
    """All the words of a figure in one line."""
    parts = (figure.get_suptitle(), figure.get_supxlabel())
    return ". ".join(part.replace("\n", " ").replace(SPACE, " ") for part in parts)
