"""What was drawn is kept, found again, and timed in turns."""

import pytest

from stepimp.models import loading
from stepimp.quality.candidates import Candidate
from stepimp.quality.comparison import compare
from stepimp.schedules.schedule import parse


def test_the_schedules_take_turns(setting, tiny_judge, drawn, candidates):
    compare(setting(), candidates("L8"), tiny_judge, "now")
    assert drawn == [
        (notation, [start, start + 1]) for start in (0, 2, 4) for notation in ("L8", "H8")
    ]


def test_what_was_drawn_is_not_drawn_again_whoever_asks(setting, tiny_judge, drawn, candidates):
    first, _ = compare(setting(), candidates("L8", "L2,H6"), tiny_judge, "first")
    drawn.clear()
    again, _ = compare(setting(), candidates("L2,H6", "H6,L2"), tiny_judge, "second")
    assert {notation for notation, _ in drawn} == {"H6,L2"}
    assert again[0] == first[1] and again[2] == first[2]
    drawn.clear()
    compare(setting(samples=8), candidates("H6,L2"), tiny_judge, "third")
    assert drawn == [("H6,L2", [6, 7]), ("H8", [6, 7])]


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"length": 10}, {"batch_size": 3}, {"dtype": "other"}]
)
def test_other_samples_are_drawn_anew(setting, tiny_judge, drawn, change, candidates):
    compare(setting(), candidates("L8"), tiny_judge, "first")
    drawn.clear()
    compare(setting(**change), candidates("L8"), tiny_judge, "second")
    assert len(drawn) >= 4


def test_other_weights_are_drawn_anew(setting, tiny_judge, tiny_family, drawn, candidates):
    compare(setting(), candidates("L8"), tiny_judge, "first")
    drawn.clear()
    others = loading.load(["2b", "2b_seed2"], tiny_family, "cpu")
    named = [Candidate("given", "2b_seed2", parse("L8", "2b", "2b_seed2"))]
    compare(setting(family=others), named, tiny_judge, "second")
    assert len(drawn) == 3
