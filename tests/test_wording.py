"""Numbers in messages."""

import pytest

from stepimp.wording import counted


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 files"), (1, "1 file"), (1.0, "1 file"), (2.5, "2.5 files")]
)
def test_a_noun_is_singular_for_one(count, text):
    assert counted(count, "file") == text


def test_thousands_are_separated():
    assert counted(1200, "file") == "1,200 files"
