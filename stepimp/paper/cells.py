"""A table and its cells."""

import math
from dataclasses import dataclass

from stepimp.intervals import Estimate


@dataclass(frozen=True)
class Table:
    """columns: names; rows: lists of str, float or None; note: what was measured, one line."""

    title: str
    columns: list[str]
    rows: list[list]
    note: str


Documents = dict[str, dict | None]


def cell(row: dict | None, column: str, scale: float = 1) -> float | None:
    """None where the row or the value is missing."""
    value = (row or {}).get(column)
    return None if value is None else scale * value


def with_half(row: dict | None, column: str) -> list[float | None]:
    """A value and half the width of its 95% interval."""
    half = Estimate.of(row or {}, column).half
    return [cell(row, column), None if math.isnan(half) else half]
