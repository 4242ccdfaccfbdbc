"""What a command shows: tables, small curves, and the document for machines."""

import json
import math

import click
from rich.console import Console
from rich.table import Table

BARS = "▁▂▃▄▅▆▇█"


def print_json(document: dict):
    from stepimp.results import finite

    click.echo(json.dumps(finite({key: value for key, value in document.items() if key != "path"})))


def print_table(title: str, columns: list[str], rows: list[list[str]]):
    """The first column to the left, all others to the right."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:  # a file has no width to fit into
        console.width = 200
    console.print(title, style="bold", highlight=False)
    console.print(table, highlight=False)


def banded(row: dict, name: str, digits: int | None = None) -> str:
    """A value and half the width of its 95% band, to so many decimals, else to four to six so that
    the band shows.
    """
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


def sparkline(values) -> str:
    """One character per value, from the least to the greatest; a blank where there is none."""
    known = [value for value in values if value is not None and value == value]
    low, step = (
        min(known, default=0),
        ((max(known, default=0) - min(known, default=0)) or 1) / (len(BARS) - 1),
    )
    return "".join(BARS[round((value - low) / step)] if value in known else " " for value in values)


def print_curves(title: str, rows: list[dict], column: str):
    """Each model's curve in characters, from t = 1 (the start of sampling) to t = 0, and its ends
    and extremes.
    """
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        own = sorted((row for row in rows if row["model"] == model), key=lambda row: -row["t"])
        known = [row for row in own if row[column] == row[column]]
        if known:
            top, bottom = (pick(known, key=lambda row: row[column]) for pick in (max, min))
            extremes = [
                part for row in (bottom, top) for part in (banded(row, column), f"{row['t']:.2f}")
            ]
            lines.append([model, sparkline([row[column] for row in own]), *extremes])
    print_table(title, ["model", "t = 1 -> 0", "least", "at t", "greatest", "at t"], lines)
