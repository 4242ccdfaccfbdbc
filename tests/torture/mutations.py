"""Ways to damage a file, as hypothesis strategies: JSON that parses but is wrong, and bytes."""

import copy
import json
import math

from hypothesis import strategies as st

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
MOST_PATHS = 400  # places of a large document among which one is chosen
JUNK = [
    None,
    True,
    -1,
    0,
    2.5,
    1e308,
    10**9,
    2**70,
    math.nan,
    math.inf,
    "",
    "x",
    "../..",
    "/dev/null",
    "a\0b",
    "\ud800",
    "L" * 5000,
    [],
    [[]],
    ["x"],
    [1e9, None],
    {},
    {"a": 1},
]


def paths(value, path=()) -> list[tuple]:
    """The places of a JSON value, as keys from the outside in. Of a long list only both ends."""
    found = [path]
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = [(k, value[k]) for k in {0, len(value) // 2, len(value) - 1} if value]
    else:
        inside = ()
    for key, part in inside:
        found += paths(part, (*path, key))
    return found


def parent_of(whole, path):
    for key in path[:-1]:
        whole = whole[key]
    return whole


def alike(a, b) -> bool:
    """Whether one value could stand in place of the other: an edit no check can tell from a
    measurement.
    """
    numbers = (int, float)
    if isinstance(a, bool) or isinstance(b, bool):
        return type(a) is type(b)
    if isinstance(a, numbers) and isinstance(b, numbers):
        return math.isfinite(b)
    return type(a) is type(b) and (isinstance(a, str) or not a or a == b)


@st.composite
def damaged_json(draw, value) -> tuple[bytes, str, bool]:
    """(content, what was done, whether an honest run might have written it) of a JSON value that
    was changed in one place.
    """
    value = copy.deepcopy(value)
    places = paths(value)
    places = places[:: max(1, len(places) // MOST_PATHS)]
    path = draw(st.sampled_from(places))
    where = "/".join(map(str, path)) or "the whole"
    how = draw(st.sampled_from(["replace", "replace", "replace", "delete", "double"]))
    if not path or how == "replace":
        junk = draw(st.sampled_from(JUNK))
        old = parent_of(value, path)[path[-1]] if path else value
        if path:
            parent_of(value, path)[path[-1]] = junk
        else:
            value = junk
        return json.dumps(value).encode(), f"{where} = {junk!r:.30}", alike(old, junk)
    parent = parent_of(value, path)
    if how == "double" and isinstance(parent, list):
        parent.append(parent[path[-1]])
        return json.dumps(value).encode(), f"{where} twice", False
    del parent[path[-1]]
    return json.dumps(value).encode(), f"without {where}", False


@st.composite
def damaged_bytes(draw, content: bytes) -> tuple[bytes, str, bool]:
    """(content, what was done, False): cut off, spliced, or something else altogether."""
    at = draw(st.integers(0, max(0, len(content) - 1)))
    how = draw(st.sampled_from(["cut", "flip", "splice", "other"]))
    if how == "cut":
        return content[:at], f"cut at {at}", False
    if how == "flip":
        other = draw(st.integers(1, 255))
        changed = (
            content[:at] + bytes([content[at] ^ other]) + content[at + 1 :] if content else b"x"
        )
        return changed, f"byte {at} ^ {other}", True
    if how == "splice":
        more = draw(st.sampled_from([b"\0" * 9, b"\xff\xfe\xed\xa0\x80", b"\n", b"{", b"[]\n"]))
        return content[:at] + more + content[at:], f"{more!r} at {at}", True
    others = [b"", b"[]", b"null", b"{}", b"\xff\xfe", POINTER, b"[" * 100_000, b"PK\x03\x04"]
    chosen = draw(st.sampled_from(others))
    return chosen, f"{chosen[:12]!r}", False


@st.composite
def damaged_lines(draw, content: bytes) -> tuple[bytes, str, bool]:
    """As `damaged_json`, of one line of a JSON Lines file."""
    lines = content.splitlines()
    number = draw(st.integers(0, len(lines) - 1))
    line, what, honest = draw(damaged_json(json.loads(lines[number])))
    whole = b"\n".join([*lines[:number], line, *lines[number + 1 :]]) + b"\n"
    return whole, f"line {number + 1}: {what}", honest
