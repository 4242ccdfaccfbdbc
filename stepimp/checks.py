"""Checks values against the types declared for them: what was read from JSON files, and options."""

import json
import math
import re
import types
from functools import cache
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, is_typeddict
from typing import get_type_hints as type_hints

RANGE = re.compile(r"\d{1,18}:\d{1,18}")


def parsed(text: bytes, names: bool = False) -> Any:
    """The JSON value of some UTF-8 text. Raises ValueError for anything else.

    names: strings of it become parts of paths, which hold no NUL character.
    """
    if names and rb"\u0000" in text:
        raise ValueError("it holds a NUL character")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def is_number(value) -> bool:
    """Whether a value is a finite number; an integer must fit into 64 bits, and true and false are
    not numbers.
    """
    if type(value) is int:
        return is_whole(value)
    return isinstance(value, float) and math.isfinite(value)


def is_whole(value) -> bool:
    """Whether a value is an integer that fits into 64 bits."""
    return type(value) is int and -(2**63) <= value < 2**63


def is_count(value) -> bool:
    """Whether a value is an integer of at least 1."""
    return is_whole(value) and value >= 1


def is_positive(value) -> bool:
    """Whether a value is a finite number above 0."""
    return is_number(value) and value > 0


def is_share(value) -> bool:
    """Whether a value is a number from 0 to 1."""
    return is_number(value) and 0 <= value <= 1


def is_text(value) -> bool:
    """Whether a value is a string that can be written as UTF-8: without half a surrogate pair."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


Count = Annotated[int, "at least 1"]
Size = Annotated[int, "at least 0"]
Positive = Annotated[float, "above 0"]
Share = Annotated[float, "from 0 to 1"]
# type: (whether a value is of it, what to call it)
SCALARS: dict[Any, tuple] = {
    float: (is_number, "a finite number"),
    int: (is_whole, "a whole number"),
    Count: (is_count, "a whole number of at least 1"),
    Size: (lambda value: value == 0 or is_count(value), "a whole number of at least 0"),
    Positive: (is_positive, "a finite number above 0"),
    Share: (is_share, "a number from 0 to 1"),
    str: (is_text, "a string"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    type(None): (lambda value: value is None, "null"),
}


def in_words(kind) -> str:
    """A type in words."""
    if kind in SCALARS:
        return SCALARS[kind][1]
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if is_plain_class(kind):
        return f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"
    return "a list" if get_origin(kind) in (list, tuple) else "an object"


def is_plain_class(kind) -> bool:
    """Whether a type is a class whose objects are what it allows."""
    return isinstance(kind, type) and get_origin(kind) is None and not is_typeddict(kind)


@cache
def fields(kind) -> dict[str, Any]:
    """The fields of a TypedDict or dataclass, or the parameters of a function, with their types."""
    return type_hints(kind, include_extras=True)


def not_a(value, words: str, where: str) -> str:
    """What is wrong with a value, in words."""
    return f"{where} is {shortened(value)}, not {words}"


def shortened(value) -> str:
    """A value in at most some 40 characters."""
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def fault(value: Any, kind, where: str = "") -> str:
    """What keeps a value from being of a type, in words; empty where nothing does.

    kind: one of SCALARS, Any, a TypedDict, another class, or a list, tuple, dict, Literal or union
    of these.
    where: what the value is called, such as `rows[3]`. A TypedDict may have more fields than are
    declared; numbers must be finite.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return ""
    if kind in SCALARS:
        fits, words = SCALARS[kind]
        return "" if fits(value) else not_a(value, words, where)
    if origin in (Annotated, NotRequired):
        return fault(value, parts[0], where)
    if origin in (Union, types.UnionType):
        return union_fault(value, parts, where)
    if origin is Literal:
        fits = any(type(value) is type(part) and value == part for part in parts)
        return "" if fits else not_a(value, in_words(kind), where)
    if is_plain_class(kind):
        return "" if isinstance(value, kind) else not_a(value, in_words(kind), where)
    if type(value) is not (origin if origin in (list, tuple) else dict):
        return not_a(value, in_words(kind), where or "the content")
    if is_typeddict(kind) and (missing := sorted(kind.__required_keys__.difference(value))):
        return f"{where or 'the content'} lacks {missing[0]!r}"
    if origin is list and parts[0] in SCALARS and all(map(SCALARS[parts[0]][0], value)):
        return ""  # the usual case of a long list, and the fastest way to see it
    faults = (fault(item, part, name) for name, item, part in parts_of(value, kind, where))
    return next(filter(None, faults), "")


def parts_of(value: Any, kind, where: str) -> list[tuple[str, Any, Any]]:
    """(what it is called, value, declared type) of each part of a list or object."""
    if get_origin(kind) in (list, tuple):
        part = get_args(kind)[0]  # of tuple[part, ...] as well
        return [(f"{where}[{i}]", item, part) for i, item in enumerate(value)]
    declared = fields(kind) if is_typeddict(kind) else dict.fromkeys(value, get_args(kind)[-1])
    prefix = f"{where}." if where else ""
    return [(prefix + name, value[name], declared[name]) for name in declared if name in value]


def union_fault(value, parts, where: str) -> str:
    """`fault` of a union: the part that the value comes closest to says what is wrong."""
    faults = [fault(value, part, where) for part in parts]
    if not all(faults):
        return ""
    inner = [text for text in faults if not text.startswith(f"{where} is ")]
    return (inner or [not_a(value, " or ".join(map(in_words, parts)), where)])[0]


def span(text: str) -> int:
    """Number of items of a range such as `32:64`; 0 for any other text."""
    if not RANGE.fullmatch(text):
        return 0
    start, stop = map(int, text.split(":"))
    return max(0, stop - start)


def is_array(value, shape: tuple[int, ...], fits=is_number) -> bool:
    """Whether a JSON value is nested lists of exactly this shape, each entry of which fits."""
    if not shape:
        return fits(value)
    return (
        isinstance(value, list)
        and len(value) == shape[0]
        and all(is_array(part, shape[1:], fits) for part in value)
    )
