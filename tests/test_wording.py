"""Numbers and times in messages."""

import pytest

from stepimp.wording import counted, duration


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 files"), (1, "1 file"), (1.0, "1 file"), (2.5, "2.5 files")]
)
def test_a_noun_is_singular_for_one(count, text):
    assert counted(count, "file") == text


def test_thousands_are_separated():
    assert counted(1200, "file") == "1,200 files"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.31, "0.3 s"), (5.4, "5 s"), (120, "2 min"), (3000, "50 min"), (9000, "2.5 h")],
)
def test_a_time_has_at_most_two_digits(seconds, text):
    assert duration(seconds) == text
