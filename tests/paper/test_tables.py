import csv as csv_module
import io
import math
import re

import pytest
from by_hand import AS_PUBLISHED, comparison, fractions, sizes

from stepimp.paper import claims, tables
from stepimp.paper.tables import Table

DOCUMENTS = {
    "light_sizes": sizes(),
    "light_fractions": fractions(),
    "unconditional": comparison(),
    "prefix_256": comparison(prefix_length=32),
    "prefix_128": comparison(prefix_length=16),
    "lm1b": comparison(family="code"),
}


def column(table, name):
    """{first cell of a row: its cell in this column}."""
    return {row[0]: row[table.columns.index(name)] for row in table.rows}


@pytest.mark.parametrize("name", tables.TABLES)
def test_each_table_has_a_cell_for_each_column_and_columns_of_one_name(name):
    title, build = tables.TABLES[name]
    table = build(DOCUMENTS)
    assert table.title == title and title.startswith(f"Table {name[-1]}. ")
    assert {len(row) for row in table.rows} == {len(table.columns)} == {len(set(table.columns))}
    assert (
        "20 samples per schedule of 128 tokens" in table.note
        and "judge" in table.note
        and "/home" not in table.note
    )


def test_table5_has_ours_beside_the_published_numbers():
    table = tables.TABLES["table5"][1](DOCUMENTS)
    assert column(table, "paper gen-PPL") == dict(
        zip(AS_PUBLISHED, [53.4, 44.6, 48.0, 47.1, 45.4, 44.3, 42.9])
    )
    assert (
        column(table, "paper entropy")["2nd quarter"] == 5.3
        and column(table, "paper ±")["all-light"] == 0.62
    )
    assert column(table, "log-PPL change") == pytest.approx(AS_PUBLISHED, abs=0.002)
    assert column(table, "paper log-PPL change")["sandwich"] == pytest.approx(math.log(44.3 / 42.9))
    row = DOCUMENTS["unconditional"]["rows"][0]
    assert column(table, "gen-PPL")["all-light"] == row["gen_ppl"]
    assert column(table, "gen-PPL ±")["all-light"] == pytest.approx(
        row["gen_ppl_high"] - row["gen_ppl"]
    )


def test_a_recommendation_stands_last_and_has_no_published_number():
    plans = {row["name"]: row for row in comparison()["rows"]}
    own = comparison()
    own["rows"].insert(0, plans["sandwich"] | {"name": "recommended"})
    table = tables.TABLES["table5"][1]({"unconditional": own})
    assert (
        table.rows[-1][0] == "recommended" and column(table, "paper gen-PPL")["recommended"] is None
    )


def test_table1_is_by_size_and_ends_with_the_heavy_model():
    table = tables.TABLES["table1"][1](DOCUMENTS)
    assert [row[0] for row in table.rows] == ["4b", "8b", "12b", "6b", "10b"], (
        "measured, then published alone"
    )
    assert column(table, "paper gen-PPL")["8b"] == 43.45
    assert column(table, "saved FLOPs (%)")["4b"] == pytest.approx(100 / 6)
    assert (
        column(table, "gen-PPL")["6b"] is None
        and abs(column(table, "log-PPL change")["12b"]) < 1e-9
    )


def test_table2_pairs_fractions_and_keeps_those_that_only_one_has():
    table = tables.TABLES["table2"][1](DOCUMENTS)
    seconds, published = column(table, "seconds"), column(table, "paper seconds")
    assert list(seconds)[:4] == ["0%", "10%", "20%", "25%"]
    assert (seconds["0%"], published["0%"]) == (9, 109.7) and (
        seconds["10%"],
        published["25%"],
    ) == (None, None)
    assert column(table, "saved seconds (%)")["50%"] == pytest.approx(100 / 6)


@pytest.mark.parametrize("name", tables.TABLES)
def test_without_results_the_published_numbers_and_the_command_are_shown(name):
    table = tables.TABLES[name][1]({})
    assert "stepimp compare" in table.note
    assert any(isinstance(value, float) for value in table.rows[0])
    assert all(row[table.columns.index("gen-PPL")] is None for row in table.rows)


TINY = Table("Table 9. A_b", ["name", "x %"], [["a|b_c", 0.123456], ["–", None]], "95% & more")


def test_markdown():
    assert tables.markdown(TINY).splitlines() == [
        "**Table 9. A_b**",
        "",
        "| name | x % |",
        "| --- | ---: |",
        "| a\\|b_c | 0.1235 |",
        "| – | – |",
        "",
        "95% & more",
    ]


def test_csv_keeps_all_digits():
    assert list(csv_module.reader(io.StringIO(tables.csv(TINY)))) == [
        ["name", "x %"],
        ["a|b_c", "0.123456"],
        ["–", ""],
    ]


def test_latex_escapes_and_numbers_its_tables_itself():
    text = tables.latex(TINY)
    assert r"\caption{A\_b. 95\% \& more}" in text and r"\begin{tabular}{lr}" in text
    assert r"a\textbar{}b\_c & 0.1235 \\" in text and r"-- & -- \\" in text
    assert text.count(r"\begin") == text.count(r"\end") == 2


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("5% of a_b & #1, $2", r"5\% of a\_b \& \#1, \$2"),
        ("{x} ~ ^ \\", r"\{x\} \textasciitilde{} \textasciicircum{} \textbackslash{}"),
        ("t < 0.4 | t > 0.6", r"t \textless{} 0.4 \textbar{} t \textgreater{} 0.6"),
        ("1 ±2", r"1 $\pm$2"),
        ("--light 4b", r"-{}-{}light 4b"),
        ("[0.1, 0.2]", "{[}0.1, 0.2]"),
        ("a-b [-1, -2]", r"a-{}b {[}$-$1, $-$2]"),
        ('"x"', "''x''"),
        (-0.5, "$-$0.5"),
        (None, "--"),
    ],
)
def test_what_latex_reads_otherwise_is_escaped(value, written):
    assert tables.latex_text(tables.text(value)) == written


@pytest.mark.parametrize("name", [*tables.TABLES, "claims"])
def test_every_table_is_latex_with_a_cell_per_column(name):
    table = (
        claims.as_table(claims.claims(DOCUMENTS | dict.fromkeys(("loss", "kl", "search"))))
        if name == "claims"
        else tables.TABLES[name][1](DOCUMENTS)
    )
    lines = tables.latex(table).splitlines()
    body = [line for line in lines if line.endswith(r" \\")]
    assert len(body) == 1 + len(table.rows)
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {len(table.columns) - 1}
    for line in [*body, lines[2]]:
        plain = re.sub(r"\\[%_&#${}]|\$(-|\\pm)\$", "", line)
        assert not re.search(r'[%_#$~^<>|"]|[^\x00-\x7f]', plain), (
            "these mean something else to LaTeX"
        )
        assert plain.count("{") == plain.count("}")


def test_long_text_is_set_in_several_lines_and_names_in_words_below_each_other():
    text = tables.latex(Table("T", ["a name", "b name"], [["word " * 20, 1.0]], ""))
    assert (
        r"\begin{tabular}{p{0.6\linewidth}r}" in text
        and r"a name & \shortstack{b \\ name} \\" in text
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (44.3123, "44.31"),
        (-0.00001, "0"),
        (0.00149, "0.0015"),
        (12345.6, "12,346"),
        (242.0, "242"),
        (None, "–"),
        ("x", "x"),
    ],
)
def test_cells_for_reading(value, shown):
    assert tables.text(value) == shown
