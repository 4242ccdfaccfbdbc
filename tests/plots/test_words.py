"""The words of every figure: readable at the size it prints, complete, and nothing twice."""

import re

import pytest
from filled import by_need
from matplotlib.text import Text
from read_artists import words_of

from stepimp.paper.contents import DRAWN
from stepimp.paper.describe import reference_folder
from stepimp.paper.needs import find_documents
from stepimp.plots.figures import draw
from stepimp.plots.style import house

HAND_WRITTEN = by_need()
SHIPPED = find_documents(reference_folder())


def figure_of(name, documents=HAND_WRITTEN):
    document = documents[DRAWN[name].need]
    if document is None:
        pytest.skip("not in the shipped run")
    return draw(name, document)


def texts_of(figure):
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


@pytest.mark.parametrize("documents", [HAND_WRITTEN, SHIPPED], ids=["hand-written", "shipped"])
@pytest.mark.parametrize("name", DRAWN)
def test_all_text_is_inside_large_enough_and_does_not_overlap(name, documents):
    figure = figure_of(name, documents)
    with house():
        figure.draw_without_rendering()
    boxes = []
    for text in set(texts_of(figure)) - beyond_the_axes(figure):
        assert text.get_fontsize() >= 6, text.get_text()
        box = Text.get_window_extent(text)  # without the hair line of an annotation
        assert figure.bbox.x0 - 1 <= box.x0 and box.x1 <= figure.bbox.x1 + 1, text.get_text()
        assert figure.bbox.y0 - 1 <= box.y0 and box.y1 <= figure.bbox.y1 + 1, text.get_text()
        if text is not figure._suptitle:  # its blank lines are the legend's room
            boxes.append((text.get_text(), box.shrunk(0.98, 0.9)))
    clashes = [(a, b) for i, (a, x) in enumerate(boxes) for b, y in boxes[:i] if x.overlaps(y)]
    assert not clashes


def beyond_the_axes(figure):
    """Labels of ticks that lie beyond the ends of their axis, which are not drawn."""
    return {
        label
        for ax in figure.axes
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim()))
        for tick in axis.majorTicks
        if not min(limits) - 1e-9 <= tick.get_loc() <= max(limits) + 1e-9
        for label in (tick.label1, tick.label2)
    }


@pytest.mark.parametrize("name", DRAWN)
def test_a_caption_has_it_all_and_nothing_twice(name):
    words = words_of(figure_of(name))
    sentences = [part.strip() for part in re.split(r"[.;](?= |$)", words) if part.strip()]
    assert len(sentences) == len(set(sentences)), "something is said twice"
    assert "amily docs" in words or "Family code" in words
    assert re.search(r"\d (samples|sequences) ", words) and "paper" in words
    assert "stepimp 9.8" in words and "/home" not in words and "reference run" not in words
    assert "95%" in words or name in ("tradeoff", "plan", "profile")


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_of_the_shipped_run_says_so(name):
    words = words_of(figure_of(name, SHIPPED))
    assert "Shipped reference run, not measured on this machine." in words
