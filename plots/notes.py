"""The words of a figure: its title above, and below it what was measured and how to read it."""

import math
import textwrap

from matplotlib.artist import Artist

from stepimp.intervals import Estimate

from .style import FAINT, SMALL

TITLE_CHARACTERS, NOTE_CHARACTERS, KEY_CHARACTERS = 14.2, 20, 17  # per inch of the width
TITLE_SIZE, LEADING = 8, 1.2  # points of a letter; lines are this much farther apart
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
    """The title and the legend above the panels, and notes below them, each a paragraph."""
    inches = figure.get_figwidth()
    title_lines = textwrap.wrap(unbroken(title), int(inches * TITLE_CHARACTERS))
    rows = legend(figure, len(title_lines))
    # a constrained layout makes room for the title, and for no legend beside it: blank lines do
    above = "\n".join(title_lines + rows * [""])
    figure.suptitle(above, x=0.01, ha="left", fontsize=TITLE_SIZE, fontweight="bold")
    width = int(inches * NOTE_CHARACTERS)
    below = "\n".join(
        textwrap.fill(unbroken(note), width, break_on_hyphens=False) for note in notes
    )
    figure.supxlabel(below, x=0.01, ha="left", fontsize=SMALL, color=FAINT, linespacing=1.3)


def legend(figure, title_lines: int) -> int:
    """One legend for all panels, each label once, under a title of so many lines. Returns the rows
    it takes, 0 where nothing has a label.
    """
    handles: dict[str, Artist] = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    if not handles:
        return 0
    widths = [len(label) + 6 for label in handles]
    room = figure.get_figwidth() * KEY_CHARACTERS
    columns = len(widths) if sum(widths) <= room else max(1, int(room / max(widths)))
    top = 1 - (title_lines * TITLE_SIZE * LEADING + 2) / 72 / figure.get_figheight()
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="upper center",
        bbox_to_anchor=(0.5, top),
        borderaxespad=0.2,
        labelspacing=0.3,
        ncols=columns,
    )
    return round(1.2 * math.ceil(len(handles) / columns))


def words(figure) -> tuple[str, str]:
    """The title and the notes of a figure, each in one line."""
    parts = (figure.get_suptitle(), figure.get_supxlabel())
    title, notes = (part.replace(SPACE, " ").replace("\n", " ").strip() for part in parts)
    return title, notes
