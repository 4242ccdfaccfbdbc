"""The table of `compare --policies`, which the paper does not have."""

import pytest
from filled import by_need

from stepimp.paper.tables import BUILDS

DOCUMENT = by_need()["policies"]


def build(documents):
    return BUILDS["policies-table"](documents)


def test_each_policy_has_its_costs_its_difference_and_its_verdict():
    table = build({"policies": DOCUMENT})
    assert [row[0] for row in table.rows] == [row["name"] for row in DOCUMENT["rows"]]
    assert {len(row) for row in table.rows} == {len(table.columns)}
    plan = dict(zip(table.columns, next(row for row in table.rows if row[0] == "plan")))
    assert plan["as written"] == "L*2,H*6" and plan["verdict"] == "better"
    assert plan["cost (heavy passes)"] == 5.8 and plan["light passes"] == 3
    assert plan["heavy passes"] == pytest.approx(4.8)
    assert (plan["NELBO to best over steps"], round(plan["NELBO ±"], 6)) == (-0.02, 0.01)
    assert plan["seconds"] == pytest.approx(6 / 5), "per sample"


def test_the_note_says_what_was_measured_and_that_it_is_beyond_the_paper():
    note = build({"policies": DOCUMENT}).note
    assert "25% of the FLOPs to save; NELBO on 7 held-out sequences that chose no" in note
    assert "5 samples per policy" in note and "The paper has schedules over steps alone." in note


def test_without_a_document_the_command_is_named():
    table = build({"policies": None})
    assert not table.rows and "stepimp compare --policies" in table.note
