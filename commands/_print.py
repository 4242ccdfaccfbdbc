"""What a command shows: tables, small curves, and the document for machines."""

import json

import click
from rich.console import Console
from rich.table import Table

BARS = "▁▂▃▄▅▆▇█"


def print_json(document: dict):
    click.echo(json.dumps({key: value for key, value in document.items() if key != "path"}))


def print_table(title: str, columns: list[str], rows: list[list[str]]):
    """Text columns first to the left, all others to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:  # a file has no width to fit into
        console.width = 200
    console.print(table, highlight=False)


def banded(row: dict, name: str, digits: int = 4) -> str:
    """A value with its 95% band."""
    if row.get(name) is None:
        return "-"
    low, high = row.get(name + "_low"), row.get(name + "_high")
    band = f" [{low:.{digits}f}, {high:.{digits}f}]" if low is not None and low == low else ""
    return f"{row[name]:.{digits}f}{band}"


def sparkline(values) -> str:
    """One character per value, from the least to the greatest."""
    values = [float("nan") if value is None else value for value in values]
    low, high = min(values), max(values)
    return "".join(BARS[round((value - low) / (high - low or 1) * (len(BARS) - 1))] for value in values)


def print_curves(title: str, rows: list[dict], column: str):
    """Each model's curve in characters, from t = 1 (the start of sampling) to t = 0, and its peak."""
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        own = sorted((row for row in rows if row["model"] == model), key=lambda row: -row["t"])
        peak = max(own, key=lambda row: row[column])
        low = min(own, key=lambda row: row[column])
        lines.append([model, sparkline([row[column] for row in own]), f"{low[column]:.4f}", banded(peak, column), f"{peak['t']:.2f}"])
    print_table(title, ["model", "t = 1 -> 0", "least", "greatest", "at t"], lines)
