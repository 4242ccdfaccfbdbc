"""The columns that `stepimp.rows` declares: listed, checked, and taken apart into views."""

import types
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple, NotRequired, TypeVar, cast, get_args, get_origin
from typing import get_type_hints as type_hints

from stepimp.rows import INTERVAL, PARTS

Row = TypeVar("Row")


class Column(NamedTuple):
    """A column of a results document."""

    name: str
    """Its key in a row."""
    type: type
    """float, int or str."""
    meaning: str
    """Unit and meaning."""
    required: bool
    """Whether every row has it."""
    nullable: bool
    """Whether a cell may be null: by `| None`, or an end of an interval that was not measured."""


@cache
def columns(row_type: type) -> tuple[Column, ...]:
    """The columns of a row type, in the order of its declaration, with _low and _high."""
    listed = []
    for name, hint in type_hints(row_type, include_extras=True).items():
        required = get_origin(hint) is not NotRequired
        if not required:
            (hint,) = get_args(hint)
        assert get_origin(hint) is Annotated, f"{row_type.__name__}.{name} says no meaning"
        kind, *marks, meaning = get_args(hint)
        nullable = isinstance(kind, types.UnionType)  # such as str | None
        if nullable:
            kind = get_args(kind)[0]
        listed.append(Column(name, kind, meaning, required, nullable))
        if INTERVAL in marks:
            ends = {"_low": "lower", "_high": "upper"}
            listed += [
                Column(name + end, kind, f"{which} end of its 95% interval", required, True)
                for end, which in ends.items()
            ]
    return tuple(listed)


def mismatch(row_type: type, cells: Mapping[str, Any]) -> str:
    """What keeps cells from being a row of this type, in words; empty where nothing does."""
    declared = {column.name: column for column in columns(row_type)}
    missing = [name for name, column in declared.items() if column.required and name not in cells]
    unknown = [name for name in cells if name not in declared]
    wrong = [
        name for name in cells if name not in unknown and not holds(declared[name], cells[name])
    ]
    faults = {"missing": missing, "unknown": unknown, "of another type": wrong}
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in faults.items() if names)


def holds(column: Column, value) -> bool:
    """Whether a value may be in a column."""
    if value is None:
        return column.nullable
    allowed = (int, float) if column.type is float else column.type
    return isinstance(value, allowed) and not isinstance(value, bool)


def typed(row_type: type[Row], cells: Mapping[str, Any]) -> Row:
    """The cells as a row of this type. Raises TypeError where its columns are others: a bug."""
    if faults := mismatch(row_type, cells):
        raise TypeError(f"not a {row_type.__name__}: {faults}")
    return cast(Row, dict(cells))


def view(document: dict, kind: str) -> dict:
    """A curves document with the columns of one view, "kl" or "loss", as its rows."""
    (row_type,) = PARTS[kind]["rows"]
    names = {column.name for column in columns(row_type)}
    rows = [{name: cell for name, cell in row.items() if name in names} for row in document["rows"]]
    return {**document, "rows": rows}
