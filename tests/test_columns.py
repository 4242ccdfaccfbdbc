"""Every results document has exactly the columns that `stepimp.rows` declares."""

import copy
from pathlib import Path

import pytest
from by_hand import comparison, curves, fractions, search, sizes
from documents import unfit_rows
from page_makers import DOCS, page_maker

import stepimp.fixtures
from stepimp.columns import columns, mismatch, typed, view
from stepimp.document_types import PARAMS
from stepimp.documents import read_document
from stepimp.rows import PARTS, BoundaryRow, EvaluateRow, KlRow, LossRow, NelboRow

REFERENCE = sorted((Path(stepimp.fixtures.__path__[0]) / "reference").glob("*.json"))
BY_HAND = [comparison(), fractions(), sizes(), search([0.0] * 6), curves()]
BOUNDARY = {"before": "4b", "after": "12b", "t": 0.75, "t_low": 0.7, "t_high": None}


@pytest.mark.parametrize("path", REFERENCE, ids=lambda path: path.stem)
def test_the_reference_run_has_the_declared_columns(path):
    assert unfit_rows(read_document(path)) == []


@pytest.mark.parametrize("document", BY_HAND, ids=lambda document: document["command"])
def test_documents_of_other_tests_have_the_declared_columns(document):
    assert unfit_rows(document) == []


def test_an_unfit_document_is_found():
    document = copy.deepcopy(comparison())
    del document["rows"][3]["seconds_low"]
    assert unfit_rows(document) == ["rows: missing: seconds_low"]
    document["others"] = [{"a": 1}]
    assert "others is not declared" in unfit_rows(document)


def test_a_column_says_its_type_and_meaning_and_an_interval_stands_for_three():
    assert [column.name for column in columns(BoundaryRow)] == list(BOUNDARY)
    low = columns(BoundaryRow)[3]
    assert (low.type, low.meaning) == (float, "lower end of its 95% interval")
    assert columns(EvaluateRow)[-3].type is str
    for kind in PARTS:
        for row_types in PARTS[kind].values():
            for column in (column for row_type in row_types for column in columns(row_type)):
                assert column.type in (float, int, str) and len(column.meaning) > 2, column


def test_each_kind_of_document_declares_its_params():
    assert PARTS.keys() == PARAMS.keys(), "add the kind to PARAMS of stepimp/document_types.py"


def test_columns_of_what_need_not_be_measured_are_optional():
    optional = {column.name for column in columns(KlRow) if not column.required}
    ends = ("", "_low", "_high")
    curves = {f"{n}_kl_nats{end}" for n in ("baseline", "relative") for end in ends}
    assert optional == curves | {"masked"}
    assert [column.name for column in columns(NelboRow) if not column.required][0] == (
        "deeper_diff_nats"
    )


@pytest.mark.parametrize(
    "change, fault",
    [
        ({}, ""),
        ({"t_low": None}, ""),
        ({"t": None}, "of another type: t"),
        ({"t": 1}, ""),
        ({"t": "1"}, "of another type: t"),
        ({"before": 4}, "of another type: before"),
        ({"x": 1}, "unknown: x"),
    ],
)
def test_a_row_fits_or_says_why_not(change, fault):
    row = BOUNDARY | change
    assert mismatch(BoundaryRow, row) == fault
    if fault:
        with pytest.raises(TypeError, match=f"not a BoundaryRow: {fault}"):
            typed(BoundaryRow, row)
    else:
        assert typed(BoundaryRow, row) == row


def test_a_view_has_the_columns_of_its_kind():
    document = curves()
    for kind, row_type in (("kl", KlRow), ("loss", LossRow)):
        seen = view(document, kind)
        assert all(mismatch(row_type, row) == "" for row in seen["rows"])
        assert seen["nelbo"] == document["nelbo"] and len(seen["rows"]) == len(document["rows"])
        assert view(seen, kind) == seen


def test_the_page_of_columns_is_what_the_types_say():
    written = (DOCS / "results.md").read_text("utf-8")
    assert written == page_maker("make_results").page(), (
        "write it again: python docs/make_results.py"
    )
