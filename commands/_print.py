"""What a command shows: tables, small curves, and the document for machines."""

import json
import math
from typing import TYPE_CHECKING

import click

from stepimp.wording import counted

from ._terminal import BARS, LITERAL

if TYPE_CHECKING:
    from rich.table import Table


FLAT = 1e-9  # relative differences that are rounding


def print_json(document: dict):
    """The document as it is in its file."""
    from stepimp.results import finite

    click.echo(json.dumps(finite({key: value for key, value in document.items() if key != "path"})))


def print_table(title: str, columns: list[str], rows: list[list[str]], spare=()):
    """The first column to the left, all others to the right; no cell is ever cut.

    spare: columns that a terminal too narrow for all of them does without, the first first. What is
    still too wide runs over the end of the line.
    """
    from rich.console import Console

    console, kept = Console(**LITERAL), list(range(len(columns)))
    available = console.width
    for name in spare:
        if not console.is_terminal or width_of(laid_out(columns, rows, kept)) <= available:
            break
        kept = [i for i in kept if columns[i] != name]
    table = laid_out(columns, rows, kept)
    console.width = max(available, width_of(table), len(title))
    console.print(title, style="bold", highlight=False)
    console.print(table, highlight=False)
    if left_out := [name for i, name in enumerate(columns) if i not in kept]:
        click.echo(f"Not shown in {available} columns: {', '.join(left_out)}.")


def width_of(table: "Table") -> int:
    """Columns a table takes when nothing is cut."""
    from rich.console import Console

    unlimited = Console(width=1_000_000, **LITERAL)
    return unlimited.measure(table).maximum


def laid_out(columns: list[str], rows: list[list[str]], kept: list[int]) -> "Table":
    """The columns to keep, by index, as a table."""
    from rich.table import Table

    table = Table(header_style="bold", box=None, pad_edge=False, show_header=any(columns))
    for i in kept:
        table.add_column(columns[i], justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(row[i] for i in kept))
    return table


def or_dash(value, form: str = "{}") -> str:
    """A value in a format, or a dash for None."""
    return "-" if value is None else form.format(value)


def banded(row: dict, name: str, digits: int | None = None) -> str:
    """A statistic of a row with its 95% interval, see `Estimate.text`."""
    from stepimp.intervals import Estimate

    return Estimate.of(row, name).text(digits)


def rounded(row: dict, name: str) -> str:
    """A value and its interval, to two significant digits of the interval and at most two
    decimals.
    """
    from stepimp.intervals import Estimate

    estimate = Estimate.of(row, name)
    decimals = 2
    if estimate.half > 0:
        decimals = min(2, max(0, 1 - math.floor(math.log10(estimate.half))))
    return estimate.text(decimals)


def warn_of_empty(count: int):
    """Says on stderr that this many samples had nothing to score."""
    if count:
        click.echo(
            f"{counted(count, 'sample')} had nothing to score; each counts as one token of "
            "probability 1/V.",
            err=True,
        )


def sparkline(values: list[float]) -> str:
    """One character per value, from the least to the greatest; a blank for NaN. Values that differ
    by rounding alone are as high.
    """
    finite = [value for value in values if not math.isnan(value)]
    low, high = min(finite, default=0), max(finite, default=0)
    flat = high - low <= FLAT * max(abs(low), abs(high))
    step = (math.inf if flat else high - low) / (len(BARS) - 1)
    return "".join(" " if math.isnan(x) else BARS[round((x - low) / step)] for x in values)


def print_curves(title: str, rows: list[dict], column: str):
    """Each model's curve in characters, from t = 1 (the start of sampling) to t = 0, and its
    extremes.
    """
    from stepimp.intervals import Estimate

    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        curve = sorted((row for row in rows if row["model"] == model), key=lambda row: -row["t"])
        values = [Estimate.of(row, column).value for row in curve]
        measured = [row for row, value in zip(curve, values) if not math.isnan(value)]
        if measured:
            least, greatest = (pick(measured, key=lambda row: row[column]) for pick in (min, max))
            lines.append([model, sparkline(values), "least", *extreme(least, column)])
            lines.append(["", "", "greatest", *extreme(greatest, column)])
    axis = ("n = all -> 1", "at n") if "masked" in rows[0] else ("t = 1 -> 0", "at t")
    print_table(title, ["model", axis[0], "", "nats", axis[1]], lines)


def extreme(row: dict, column: str) -> list[str]:
    """The cells of an extreme: its value, and its time or number of masked positions."""
    return [banded(row, column), str(row["masked"]) if "masked" in row else f"{row['t']:.2f}"]


def size(count: float) -> str:
    """`3.2 GB`, `45 MB` or `550 kB`: three digits, never an exponent."""
    units = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
    unit, name = next((row for row in units if count >= row[0]), units[-1])
    return f"{float(f'{count / unit:.3g}'):g} {name}"
