"""The lines of intervals on bars."""

from matplotlib.figure import Figure

from stepimp.intervals import Estimate
from stepimp.plots.bars import interval


def test_a_value_outside_of_its_percentile_interval_is_drawn():
    ax = Figure().subplots()
    interval(ax, 0, 2.5, Estimate(2.5, 1.0, 2.0), horizontal=False)
    (line,) = ax.collections[0].get_segments()
    assert line[:, 1].tolist() == [1.0, 2.5]
