"""A JSON value fits its declared type, or the first fault is named with its place."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from stepimp.checks import fault, is_array, parsed, span


class Point(TypedDict):
    t: Annotated[float, "time"]
    model: str
    label: NotRequired[str | None]


class Curve(TypedDict):
    points: list[Point]
    sums: dict[str, list[float]]
    by: Literal["kl", "loss"]
    more: NotRequired[Any]


GOOD = {"points": [{"t": 1, "model": "4b"}], "sums": {"4b": [0.5, 2]}, "by": "kl"}

FAULTS = [
    (("points", 0, "t"), "x", "points[0].t is 'x', not a finite number"),
    (("points", 0, "t"), True, "points[0].t is True, not a finite number"),
    (("points", 0, "t"), float("nan"), "points[0].t is nan, not a finite number"),
    (("points", 0, "t"), 10**400, "not a finite number"),
    (("points", 0, "model"), None, "points[0].model is None, not a string"),
    (("points", 0, "model"), "\ud800", "points[0].model is '\\ud800', not a string"),
    (("points", 0, "label"), 3, "points[0].label is 3, not a string or null"),
    (("points", 0), [], "points[0] is [], not an object"),
    (("points",), {}, "points is {}, not a list"),
    (("sums", "4b", 1), "y", "sums.4b[1] is 'y', not a finite number"),
    (("sums", "4b"), None, "sums.4b is None, not a list"),
    (("by",), "nelbo", "by is 'nelbo', not 'kl' or 'loss'"),
]


@pytest.mark.parametrize("path, value, message", FAULTS)
def test_a_fault_is_named_with_its_place(path, value, message):
    changed = parsed(b'{"points": [{"t": 1, "model": "4b"}], "sums": {"4b": [0.5, 2]}, "by": "kl"}')
    inside = changed
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    assert message in fault(changed, Curve)


def test_what_fits_has_no_fault():
    assert fault(GOOD, Curve) == ""
    assert fault(GOOD | {"more": [1, "x"], "unknown": 1}, Curve) == ""
    labelled = {"t": 0.5, "model": "4b", "label": None}
    assert fault(GOOD | {"points": [labelled]}, Curve) == ""


def test_what_is_missing_is_named():
    assert fault({}, Curve) == "the content lacks 'by'"
    assert fault(GOOD | {"points": [{"t": 1}]}, Curve) == "points[0] lacks 'model'"
    assert fault([], Curve) == "the content is [], not an object"


@pytest.mark.parametrize("text", [b"[" * 200_000, b"\xff", b'{"a": ', b"", b"9" * 5000])
def test_what_is_not_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        parsed(text)


def test_names_hold_no_nul_character():
    assert parsed(rb'"\u0000"') == "\0"
    with pytest.raises(ValueError, match="NUL"):
        parsed(rb'"\u0000"', names=True)


def test_arrays_have_exactly_their_shape():
    assert is_array([[1, 2.5], [3, 4]], (2, 2)) and is_array([], (0,))
    for wrong in (
        [[1, 2]],
        [[1, 2], [3]],
        [[1, 2], [3, None]],
        [[1, 2], 3],
        None,
        [[1, 2], [3, True]],
    ):
        assert not is_array(wrong, (2, 2))


def test_a_span_counts_a_range():
    assert span("0:" + "9" * 5000) == 0  # more digits than Python reads
    assert (span("0:8"), span("8:12"), span("8:3"), span("x:3"), span(""), span("3")) == (8, 4) + (
        0,
    ) * 4
