"""Coarse schedules."""

import numpy as np
import pytest

from stepimp.errors import StepimpError
from stepimp.search.coarse import Coarse, segment_runs


def test_the_papers_schedules():
    coarse = Coarse("12b", "4b", 1000)
    names = coarse.names()
    assert len(coarse) == len(names) == len(set(names)) == 210 and names == sorted(names)
    assert all(len(name) == 10 and name.count("L") == 4 for name in names)
    assert segment_runs(names) == 790
    assert coarse.schedule("LHHHHHHLLL").format("12b", "4b") == "L100,H600,L300"


@pytest.mark.parametrize("steps, segments", [(23, 10), (10, 10), (7, 3)])
def test_segments_of_a_t_they_do_not_divide_differ_by_one_step(steps, segments):
    coarse = Coarse("h", "l", steps, segments, 2)
    widths = np.diff(coarse.edges)
    assert widths.sum() == steps and widths.min() >= 1 and widths.max() - widths.min() <= 1
    schedules = [coarse.schedule(name) for name in coarse.names()]
    assert all(schedule.steps == steps for schedule in schedules) and len(set(schedules)) == len(
        schedules
    )


@pytest.mark.parametrize("segments, said", [(20, "184,756"), (100, "trillions of")])
def test_more_schedules_than_can_be_sampled_are_refused(segments, said):
    with pytest.raises(StepimpError, match=f"make {said} schedules; the most is 10,000"):
        Coarse("h", "l", 1000, segments, segments // 2).check()
