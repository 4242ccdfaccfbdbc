import csv as csv_module
import io
import re

import pytest
from filled import by_need

from stepimp.paper import claims, formats, tables
from stepimp.paper.contents import TABLES
from stepimp.paper.tables import Table

DOCUMENTS = by_need()


TINY = Table("Table 9. A_b", ["name", "x %"], [["a|b_c", 0.123456], ["–", None]], "95% & more")


def test_markdown():
    assert formats.markdown(TINY).splitlines() == [
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
    assert list(csv_module.reader(io.StringIO(formats.csv(TINY)))) == [
        ["name", "x %"],
        ["a|b_c", "0.123456"],
        ["–", ""],
    ]


def test_csv_cells_that_a_spreadsheet_would_run_are_guarded_and_numbers_are_not():
    cells = ["=1+1", "+a", "-b", "@c", "a=1", -0.5]
    text = formats.csv(Table("T", ["=name"], [[cell] for cell in cells], ""))
    rows = [row for (row,) in csv_module.reader(io.StringIO(text))]
    assert rows == ["'=name", "'=1+1", "'+a", "'-b", "'@c", "a=1", "-0.5"]


def test_latex_escapes_and_numbers_its_tables_itself():
    text = formats.latex(TINY)
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
    assert formats.latex_text(formats.text(value)) == written


@pytest.mark.parametrize("name", [*TABLES, "claims"])
def test_every_table_is_latex_with_a_cell_per_column(name):
    if name == "claims":
        table = claims.as_table(claims.claims(DOCUMENTS), DOCUMENTS)
    else:
        table = tables.BUILDS[name](DOCUMENTS)
    lines = formats.latex(table).splitlines()
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
    text = formats.latex(Table("T", ["a name", "b name"], [["word " * 20, 1.0]], ""))
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
    assert formats.text(value) == shown
