"""The figure of `compare --policies`: differences, predictions, costs and verdicts."""

import pytest
from filled import by_need
from read_artists import intervals_of, words_of

from stepimp.plots.figures import draw

DOCUMENT = by_need()["policies"]
OTHERS = [row for row in DOCUMENT["rows"] if row["name"] != "best over steps"]


def test_each_policy_is_drawn_against_the_best_schedule_over_steps():
    (ax,) = draw("policies", DOCUMENT).axes
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == [row["name"] for row in OTHERS]
    x = {
        name: [line.get_xdata()[0] for line in ax.lines if line.get_label() == name]
        for name in ("measured", "predicted")
    }
    assert x["measured"] == [row["nelbo_diff_nats"] for row in OTHERS]
    assert x["predicted"] == pytest.approx([0.9 * row["nelbo_diff_nats"] for row in OTHERS])
    ends = [(row["nelbo_diff_nats_low"], row["nelbo_diff_nats_high"]) for row in OTHERS]
    assert [drawn[1:] for drawn in intervals_of(ax)] == [pytest.approx(end) for end in ends]


def test_each_policy_has_its_cost_and_verdict_beside_it():
    (ax,) = draw("policies", DOCUMENT).axes
    beside = [text.get_text() for text in ax.texts]
    assert beside[:-1] == [f"{row['heavy_forwards']:.1f}, {row['verdict']}" for row in OTHERS]
    assert beside[0] == "8.0, other cost" and beside[-1] == "cost, verdict"


def test_it_says_that_the_paper_has_no_such_figure():
    said = words_of(draw("policies", DOCUMENT))
    assert "The paper has schedules over steps alone." in said and "6.0 for the best over" in said


def test_a_document_without_the_reference_is_incomplete():
    with pytest.raises(LookupError):
        draw("policies", DOCUMENT | {"rows": OTHERS})
