"""A null in a results document: refused where a value must have been measured, and nowhere else in
the way of figures, tables, claims and what is resolved.
"""

import json
from functools import reduce

import pytest
from filled import by_need

from stepimp.columns import columns
from stepimp.document_types import document_fault
from stepimp.paper.claims import claims
from stepimp.paper.contents import DRAWN, TABLES
from stepimp.paper.describe import reference_folder
from stepimp.paper.resolution import effects
from stepimp.paper.tables import BUILDS
from stepimp.plots import figures
from stepimp.plots.explorer import explorer
from stepimp.rows import PARTS

MEASURED = [
    ("compare", "pairs", "log_ppl_diff"),
    ("compare", "rows", "log_ppl_diff"),
    ("compare", "rows", "gen_ppl"),
    ("compare", "rows", "seconds"),
    ("search", "influence", "influence_ppl"),
    ("recommend", "rows", "objective"),
    ("recommend", "boundaries.moves", "t"),
]


def rows_of(document, part):
    return reduce(lambda inside, key: inside.get(key, {}), part.split("."), document)


@pytest.fixture(scope="module")
def reference():
    """{command: one document of the shipped run}, of comparisons one that has pairs."""
    documents = [json.loads(file.read_text()) for file in reference_folder().glob("*.json")]
    return {document["command"]: document for document in sorted(documents, key=pairs)}


def pairs(document):
    return len(document.get("pairs", []))


@pytest.mark.parametrize("command, part, column", MEASURED)
def test_what_must_have_been_measured_is_not_null(reference, command, part, column):
    document = json.loads(json.dumps(reference[command]))
    assert document_fault(document) == ""
    rows_of(document, part)[1 % len(rows_of(document, part))][column] = None
    said = document_fault(document)
    assert said.startswith(part) and said.endswith(f"].{column} is None, not a finite number")


@pytest.mark.parametrize("command, part", [("curves", "rows"), ("recommend", "curves")])
def test_a_curve_of_nulls_alone_is_damaged(reference, command, part):
    document = json.loads(json.dumps(reference[command]))
    last = document[part][-1]["model"]
    for row in document[part]:
        if row["model"] == last:
            row["kl_nats"] = None
    assert document_fault(document) == f"{part} has no kl_nats of {last}"


def nulled(document):
    """With nulls wherever they may be: at all ends of intervals, and in each first row."""
    document = json.loads(json.dumps(document))
    for part, row_types in PARTS[document["command"]].items():
        rows = rows_of(document, part) or []
        for column in {column for row_type in row_types for column in columns(row_type)}:
            where = rows if column.name.endswith(("_low", "_high")) else rows[:1]
            for row in where:
                if column.nullable and column.type is float and column.name in row:
                    row[column.name] = None
    return document


def test_whatever_may_be_null_is_in_nothings_way():
    documents = {need: document and nulled(document) for need, document in by_need().items()}
    for name, item in DRAWN.items():
        if documents.get(item.need):
            figures.draw(name, documents[item.need])
    for name in TABLES:
        BUILDS[name](documents)
    assert not any(effect.resolved for effect in effects(documents) if effect.where != "Table 2")
    assert len(claims(documents)) == 5
    assert explorer(documents["recommend"])
