"""The paper's six tables from results documents, each of our numbers beside the published one.

Perplexities are on other scales (models, text, judge), so that what can be held against the paper
is the change against all-heavy: as a log-PPL difference in nats per token, ours paired over
samples."""

import csv as csv_module
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

from stepimp.paper.needs import (
    HAND_CRAFTED,
    by_fraction,
    by_light,
    hand_crafted,
    in_the_paper,
    made_by,
    sampled,
)
from stepimp.paper.numbers import paper
from stepimp.results import write_atomically

GAP = "–"  # where nothing was measured or published


@dataclass(frozen=True)
class Table:
    """columns: names; rows: lists of str, float or None; note: what was measured, one line."""

    title: str
    columns: list[str]
    rows: list[list]
    note: str


def half(row: dict | None, column: str) -> float | None:
    """Half the width of a column's 95% interval."""
    low, high = (cell(row, column + end) for end in ("_low", "_high"))
    return None if low is None or high is None else (high - low) / 2


def cell(row: dict | None, column: str, scale: float = 1) -> float | None:
    value = (row or {}).get(column)
    return None if value is None else scale * value


def log_change(row: dict | None, heavy: dict) -> float | None:
    """A published gen-PPL as a difference in log-PPL to the all-heavy one, nats per token."""
    return None if row is None else math.log(row["gen_ppl"] / heavy["gen_ppl"])


def log_change_half(row: dict, heavy: dict) -> float | None:
    """Half the width of its interval, from the published ones as if the two had been
    independent.
    """
    if row is heavy or "ci" not in row:
        return None
    return math.hypot(row["ci"] / row["gen_ppl"], heavy["ci"] / heavy["gen_ppl"])


def setting(documents: dict, need: str) -> str:
    """What was compared, in a line, or what would compare it."""
    document = documents.get(need)
    if not document:
        return f"No results yet: {made_by(need, documents=documents)} makes them."
    return f"{sampled(document)} ±: half of the 95% interval over samples. {in_the_paper(document)}"


PUBLISHED = ["paper gen-PPL", "paper ±", "paper log-PPL change"]
QUALITY = ["gen-PPL", "gen-PPL ±", "log-PPL change", "log-PPL ±"]


def quality(row: dict | None) -> list:
    """QUALITY of one of our rows."""
    return [
        cell(row, "gen_ppl"),
        half(row, "gen_ppl"),
        cell(row, "log_ppl_diff"),
        half(row, "log_ppl_diff"),
    ]


def published_cells(row: dict | None, heavy: dict) -> list:
    """PUBLISHED of one of the paper's rows."""
    return [cell(row, "gen_ppl"), cell(row, "ci"), log_change(row, heavy)]


def schedules_table(title: str, need: str, published: str):
    """A function documents -> Table of the seven hand-crafted schedules and our recommendation,
    with entropy.
    """

    def build(documents: dict) -> Table:
        document, theirs = documents.get(need), dict(zip(HAND_CRAFTED, paper()[published]["rows"]))
        ours = hand_crafted(document) if document else {}
        ours |= (
            {row["name"]: row for row in document["rows"] if row["name"] == "recommended"}
            if document
            else {}
        )
        rows = [
            [
                name,
                (ours.get(name) or theirs[name])["schedule"],
                *quality(ours.get(name)),
                cell(ours.get(name), "entropy_nats"),
                *published_cells(theirs.get(name), theirs["all-heavy"]),
                cell(theirs.get(name), "entropy"),
            ]
            for name in ours | theirs
        ]
        columns = [
            "light steps",
            "schedule",
            *QUALITY,
            "entropy (nats)",
            *PUBLISHED,
            "paper entropy",
        ]
        return Table(title, columns, rows, setting(documents, need))

    return build


def table1(documents: dict) -> Table:
    """Sandwiches with a quarter of the steps light, by size of the light model; last the heavy
    model itself.
    """
    document, theirs = (
        documents.get("light_sizes"),
        {row["light"]: row for row in paper()["table1_light_size"]["rows"]},
    )
    ours = by_light(document) if document else {}
    if document:
        ours[document["params"]["heavy"]] = next(
            row for row in document["rows"] if row["light"] is None
        )
    rows = [
        [
            light,
            *quality(ours.get(light)),
            cell(ours.get(light), "saved_flops", 100),
            *published_cells(theirs.get(light), theirs["12b"]),
            cell(theirs.get(light), "saved_flops_pct"),
        ]
        for light in ours | theirs
    ]
    columns = ["light model", *QUALITY, "saved FLOPs (%)", *PUBLISHED, "paper saved FLOPs (%)"]
    return Table(TITLES["table1"], columns, rows, setting(documents, "light_sizes"))


def table2(documents: dict) -> Table:
    """Sandwiches by fraction of light steps: quality, FLOPs and time. The paper prints no intervals
    here.
    """
    document = documents.get("light_fractions")
    theirs = {row["light_pct"]: row for row in paper()["table2_light_fraction"]["rows"]}
    ours = by_fraction(document) if document else {}
    rows = [
        [
            f"{percent}%",
            *quality(ours.get(percent)),
            cell(ours.get(percent), "saved_flops", 100),
            cell(ours.get(percent), "seconds"),
            cell(ours.get(percent), "saved_seconds", 100),
            cell(theirs.get(percent), "gen_ppl"),
            log_change(theirs.get(percent), theirs[0]),
            *(
                cell(theirs.get(percent), column)
                for column in ("saved_flops_pct", "time_s", "speedup_pct")
            ),
        ]
        for percent in sorted(ours | theirs)
    ]
    columns = [
        "light steps",
        *QUALITY,
        "saved FLOPs (%)",
        "seconds",
        "saved seconds (%)",
        PUBLISHED[0],
        PUBLISHED[2],
        "paper saved FLOPs (%)",
        "paper seconds",
        "paper saved seconds (%)",
    ]
    return Table(TITLES["table2"], columns, rows, setting(documents, "light_fractions"))


TITLES = {
    "table1": "Table 1. Size of the light model, sandwich with a quarter of the steps light",
    "table2": "Table 2. Fraction of light steps, sandwich",
    "table3": "Table 3. Schedules after a prefix of a quarter of the length (256 of 1024 tokens in the paper)",
    "table4": "Table 4. Schedules on the family of the LM1B role",
    "table5": "Table 5. Schedules, unconditional",
    "table6": "Table 6. Schedules after a prefix of an eighth of the length (128 of 1024 tokens in the paper)",
}
SCHEDULES = {  # table: (need, key of the published one)
    "table3": ("prefix_256", "table3_prefix_256"),
    "table4": ("lm1b", "table4_lm1b"),
    "table5": ("unconditional", "table5_unconditional_entropy"),
    "table6": ("prefix_128", "table6_prefix_128"),
}
BUILDS = {"table1": table1, "table2": table2} | {
    name: schedules_table(TITLES[name], *source) for name, source in SCHEDULES.items()
}
TABLES = {name: (TITLES[name], BUILDS[name]) for name in TITLES}
TABLE_NEEDS = {name: need for name, (need, _) in SCHEDULES.items()} | {
    "table1": "light_sizes",
    "table2": "light_fractions",
}


def text(value) -> str:
    """A cell for reading: at most four digits of a number, and four decimals."""
    if value is None:
        return GAP
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{round(value, 4) + 0.0:.4g}"


def escaped(words: str, special: dict[str, str]) -> str:
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
    """The table with all digits; empty where nothing was measured."""
    out = io.StringIO()
    writer = csv_module.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.rows)
    return out.getvalue()


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
    return right_or_left(table, column, "r", "l"), r"\shortstack{%s}" % name.replace(" ", r" \\ ")


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
