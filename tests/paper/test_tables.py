import math

import pytest
from by_hand import AS_PUBLISHED, comparison, sizes
from filled import by_need, filled

from stepimp.paper import tables
from stepimp.paper.contents import PAPER_TABLES, TABLES, title
from stepimp.paper.describe import reference_folder
from stepimp.paper.numbers import paper
from stepimp.paper.rows import hand_crafted

DOCUMENTS = by_need()
# the columns that the paper's tables have, in its order
PAPER_COLUMNS = {
    "table1": ["light model", "gen-PPL", "gen-PPL ±", "PPL drop (%)", "saved FLOPs (%)"],
    "table2": ["light steps", "gen-PPL", "saved FLOPs (%)", "seconds", "speedup (%)"],
} | dict.fromkeys(
    ("table3", "table4", "table5", "table6"),
    ["schedule", "gen-PPL", "gen-PPL ±", "entropy (nats)"],
)


def build(name, documents=DOCUMENTS):
    return tables.BUILDS[name](documents)


def column(table, name):
    """{first cell of a row: its cell in this column}."""
    return {row[0]: row[table.columns.index(name)] for row in table.rows}


@pytest.mark.parametrize("name", PAPER_TABLES)
def test_each_table_has_the_papers_columns_first_and_a_cell_for_each(name):
    table = build(name)
    assert table.title == title(name)
    places = [table.columns.index(column) for column in PAPER_COLUMNS[name]]
    assert places == sorted(places) and places[-1] <= 5
    assert {len(row) for row in table.rows} == {len(table.columns)} == {len(set(table.columns))}
    assert "20 samples per schedule of" in table.note and "judge" in table.note
    assert "/home" not in table.note and "reference run" not in table.note


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("table3", "table3_prefix_256"),
        ("table4", "table4_lm1b"),
        ("table5", "table5_unconditional_entropy"),
        ("table6", "table6_prefix_128"),
    ],
)
def test_tables_of_schedules_have_the_documents_numbers_beside_the_printed_ones(name, printed):
    table, rows = build(name), paper()[printed]["rows"]
    assert list(column(table, "schedule")) == list(AS_PUBLISHED), "in the order of the paper"
    for ours, theirs in (
        ("paper gen-PPL", "gen_ppl"),
        ("paper ±", "ci"),
        ("paper entropy", "entropy"),
    ):
        assert list(column(table, ours).values()) == [row[theirs] for row in rows]
    document = hand_crafted(DOCUMENTS[TABLES[name].need])
    for name, row in document.items():
        assert column(table, "schedule")[name] == row["schedule"]
        assert column(table, "gen-PPL")[name] == row["gen_ppl"]
        half = (row["gen_ppl_high"] - row["gen_ppl_low"]) / 2
        assert column(table, "gen-PPL ±")[name] == pytest.approx(half)
        assert column(table, "entropy (nats)")[name] == row["entropy_nats"]
        assert column(table, "log-PPL change")[name] == row["log_ppl_diff"]
    change = math.log(rows[5]["gen_ppl"] / rows[6]["gen_ppl"])
    assert column(table, "paper log-PPL change")["sandwich"] == pytest.approx(change)


def test_a_recommendation_is_last_and_has_no_published_number():
    rows = {row["name"]: row for row in comparison()["rows"]}
    document = comparison()
    document["rows"].insert(0, rows["sandwich"] | {"name": "recommended"})
    table = build("table5", {"unconditional": document})
    assert table.rows[-1][0] == "recommended"
    assert column(table, "paper gen-PPL")["recommended"] is None


def test_table1_is_by_size_and_ends_with_the_heavy_model():
    effects = {"sandwich": 0.03, "8b sandwich": 0.01}
    table = build("table1", {"light_sizes": sizes(effects=effects)})
    assert list(column(table, "gen-PPL")) == ["4b", "6b", "8b", "10b", "12b"]
    assert list(column(table, "paper gen-PPL").values()) == [44.31, 43.67, 43.45, 42.90, 42.85]
    assert list(column(table, "paper PPL drop (%)").values()) == [3.41, 1.94, 1.40, 0.12, 0]
    assert column(table, "saved FLOPs (%)")["4b"] == pytest.approx(100 / 6)
    ppl, drops = column(table, "gen-PPL"), column(table, "PPL drop (%)")
    for light in ("4b", "8b"):
        assert drops[light] == pytest.approx(100 * (ppl[light] - ppl["12b"]) / ppl["12b"])
    assert drops["4b"] == pytest.approx(3, abs=0.2) and drops["12b"] == 0
    assert column(table, "log-PPL change")["12b"] == pytest.approx(0, abs=1e-9)


def test_table2_pairs_fractions_and_keeps_those_that_only_one_has():
    table = build("table2")
    seconds, printed = column(table, "seconds"), column(table, "paper seconds")
    assert list(seconds)[:4] == ["0%", "10%", "20%", "25%"]
    assert (seconds["0%"], printed["0%"]) == (9, 109.7)
    assert seconds["10%"] is None and printed["25%"] is None
    assert column(table, "speedup (%)")["50%"] == pytest.approx(100 / 6)
    assert column(table, "paper speedup (%)")["100%"] == 28.3
    assert "in % of all-heavy" in table.note


@pytest.mark.parametrize("name", PAPER_TABLES)
def test_without_results_the_published_numbers_and_the_command_are_shown(name):
    table = build(name, {})
    assert "stepimp compare" in table.note
    assert any(isinstance(value, float) for value in table.rows[0])
    assert all(row[table.columns.index("gen-PPL")] is None for row in table.rows)


def test_a_table_from_the_shipped_run_says_so():
    shipped = filled()["prefix_128"] | {"path": str(reference_folder() / "compare-0.json")}
    note = build("table6", {"prefix_128": shipped}).note
    assert note.startswith("Shipped reference run, not measured on this machine.")
