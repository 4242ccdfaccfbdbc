"""Tables as Markdown, CSV and LaTeX."""

import csv as csv_module
import io
import re
from pathlib import Path

from stepimp.paper.tables import Table
from stepimp.results import write_atomically

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet's formula may begin with
GAP = "–"  # where nothing was measured or published


def text(value) -> str:
    """A cell for reading: at most four digits of a number, and four decimals."""
    if value is None:
        return GAP
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{round(value, 4) + 0.0:.4g}"


def escaped(words: str, special: dict[str, str]) -> str:
    """The words with special characters replaced."""
    return "".join(special.get(letter, letter) for letter in words)


def markdown(table: Table) -> str:
    """The table in Markdown, numbers to the right."""
    lines = [
        table.columns,
        [right_or_left(table, k, "---:", "---") for k in range(len(table.columns))],
    ]
    lines += [[escaped(text(value), {"|": "\\|"}) for value in row] for row in table.rows]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"**{table.title}**\n\n{body}\n\n{table.note}\n"


def right_or_left(table: Table, column: int, right: str, left: str) -> str:
    """One of the two, by what a column holds: numbers go to the right."""
    return left if any(isinstance(row[column], str) for row in table.rows) else right


def csv(table: Table) -> str:
    """The table with all digits; empty where nothing was measured.

    A text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    out = io.StringIO()
    writer = csv_module.writer(out, lineterminator="\n")
    writer.writerows([guarded(value) for value in row] for row in [table.columns, *table.rows])
    return out.getvalue()


def guarded(value):
    """A cell of a CSV file. Numbers are numbers, whatever their sign."""
    return f"'{value}" if isinstance(value, str) and value[:1] in FORMULA else value


MINUS = "\N{MINUS SIGN}"
LATEX = {letter: rf"\{letter}" for letter in "%_&#${}"} | {
    "±": r"$\pm$",
    MINUS: "$-$",
    GAP: "--",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    # in LaTeX's first fonts these are other letters, and two hyphens or a bracket after a row mean
    # something
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "-": "-{}",
    "[": "{[}",
}
LONG = 30  # letters of a text that is set in several lines


def latex_text(words: str) -> str:
    """Escaped, and with a minus sign before a negative number."""
    return escaped(re.sub(r"(?<![\w-])-(?=\d)", MINUS, words), LATEX)


def latex_column(table: Table, column: int) -> tuple[str, str]:
    """How LaTeX sets a column, and its name: a word below the other, so that the name is no wider
    than the numbers.
    """
    name = escaped(table.columns[column], LATEX)
    if max(len(text(row[column])) for row in table.rows) > LONG:
        return r"p{0.6\linewidth}", name
    line_break = r" \\ "
    return right_or_left(
        table, column, "r", "l"
    ), rf"\shortstack{{{name.replace(' ', line_break)}}}"


def latex(table: Table) -> str:
    """The table as a LaTeX `table` as wide as the line; it needs the packages booktabs and
    graphicx.
    """
    align, heads = zip(*(latex_column(table, k) for k in range(len(table.columns))))
    cells = [[latex_text(text(value)) for value in row] for row in table.rows]
    head, *rows = (" & ".join(row) + r" \\" for row in [heads, *cells])
    title = re.sub(r"^Table \d+\. ", "", table.title)  # LaTeX numbers its tables itself
    caption = latex_text(f"{title}. {table.note}")
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        r"\resizebox{\linewidth}{!}{%",
        rf"\begin{{tabular}}{{{''.join(align)}}}",
        r"\toprule",
        head,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def save(table: Table, folder: Path, name: str) -> list[Path]:
    """Writes name.md, name.csv and name.tex, each whole or not at all."""
    paths = [folder / f"{name}.{kind}" for kind in ("md", "csv", "tex")]
    for path, write in zip(paths, (markdown, csv, latex)):
        write_atomically(path, write(table))
    return paths
