"""The search for one budget against the whole frontier, which is tested against brute force."""

import numpy as np
import pytest
from brute_force import every_schedule

from stepimp.errors import StepimpError
from stepimp.schedules import cheapest as search
from stepimp.schedules import frontier
from stepimp.schedules.cheapest import Bounds, cheapest
from stepimp.schedules.frontier import Frontier
from stepimp.schedules.schedule import parse, stretched

GAINS = {"h": 0, "a": 1, "b": 2, "c": 4}


def random_costs(steps, kind, seed=0):
    """model -> [1, steps]: noise, or curves with a few peaks that a saved unit makes dearer."""
    draw = np.random.default_rng(seed)
    if kind == "noise":
        return {m: draw.normal(size=(1, steps)) for m in GAINS}
    curve = np.interp(np.arange(steps), np.linspace(0, steps, 7), draw.random(7))
    return {m: (gain**1.3 * curve + 0.01 * draw.random(steps))[None] for m, gain in GAINS.items()}


@pytest.mark.parametrize("kind", ["noise", "curves"])
@pytest.mark.parametrize("segments, shortest", [(1, 1), (2, 4), (3, 1), (5, 3), (7, 1)])
@pytest.mark.parametrize("least, most", [(0, 0), (31, 31), (60, 60), (60, 160), (0, 160)])
def test_it_finds_what_the_whole_frontier_has(kind, segments, shortest, least, most):
    table = random_costs(40, kind, segments)
    whole = Frontier(table, GAINS, segments, shortest)
    saving = whole.cheapest(least, most)
    if not np.isfinite(whole.cost[0, saving]):
        with pytest.raises(StepimpError, match="allow more or shorter segments"):
            cheapest(table, GAINS, segments, shortest, least, most)
    else:
        found = cheapest(table, GAINS, segments, shortest, least, most)
        assert found == whole.best(saving)


def test_steps_are_bounded_chunk_by_chunk(monkeypatch):
    table = random_costs(40, "noise")
    whole = cheapest(table, GAINS, 4, 2, 60, 60)
    monkeypatch.setattr(search, "CHUNK", 7)
    assert cheapest(table, GAINS, 4, 2, 60, 60) == whole


def test_progress_goes_through_the_bounds_and_the_search(monkeypatch):
    monkeypatch.setattr(frontier, "REPORTED", 1)
    reported = []
    cheapest(
        random_costs(40, "curves"), GAINS, 3, 1, 60, 60, lambda *counts: reported.append(counts)
    )
    done, totals = zip(*reported)
    assert set(totals) == {100} and done[0] == 0 and done[-1] == 100
    begun = done.index(next(count for count in done if count > search.BOUNDS_SHARE))
    assert begun == search.ZOOMS and sorted(done[:begun]) == list(done[:begun])


def test_costs_that_are_all_the_same():
    table = {m: np.ones((1, 30)) for m in GAINS}
    found = cheapest(table, GAINS, 3, 1, 40, 40)
    assert sum(GAINS[m] * count for m, count in found.segments) == 40


def test_no_bound_is_above_the_cost_of_a_schedule():
    """Each end of a segment of each schedule lies in the windows for what the schedule costs."""
    steps, segments, shortest, least, most = 6, 3, 2, 5, 12
    table = random_costs(steps, "noise", 3)
    bounds = Bounds(table, GAINS, segments, shortest, least, most)
    checked = 0
    for choice in every_schedule(GAINS, steps, segments, shortest):
        saved = np.cumsum([GAINS[m] for m in choice])
        if not least <= saved[-1] <= most:
            continue
        cost = sum(table[m][0, i] for i, m in enumerate(choice))
        assert bounds.total <= cost + 1e-9
        windows = bounds.windows(cost + 1e-9)
        inside = {
            step: (low, high) for step, low, high in zip(windows.steps, windows.low, windows.high)
        }
        for i in range(1, steps):
            if choice[i] != choice[i - 1]:
                low, high = inside[i]
                assert low <= saved[i - 1] <= high
                checked += 1
    assert checked > 20


def test_bounds_leave_little_to_search():
    """In curves as they are measured; else the search at many steps would take too long."""
    table = random_costs(400, "curves")
    bounds = Bounds(table, GAINS, 5, 1, 500, 500)
    whole = Frontier(table, GAINS, 5, least=500, most=500)
    windows = bounds.windows(whole.cost[0, 500] + 1e-9)
    everywhere = search.Windows.all(400, list(GAINS.values()), 1, 500, 500)
    looked_at, possible = ((each.high - each.low + 1).sum() for each in (windows, everywhere))
    assert looked_at < possible / 10


def test_segments_to_spare_do_not_widen_the_search():
    """Two segments of the same model are one, wherever the first of them ends."""
    curve = 1 + np.sin(6 * np.linspace(0, 1, 400))
    table, gains = {"h": np.zeros((1, 400)), "a": curve[None]}, {"h": 0, "a": 1}
    whole = Frontier(table, gains, 5, least=100, most=100)
    assert len(whole.best(100).segments) == 3
    bounds = Bounds(table, gains, 5, 1, 100, 100)
    assert len(bounds.windows(whole.cost[0, 100] + 1e-9).steps) == 2


@pytest.mark.parametrize("steps", [37, 1000])
def test_the_price_of_a_coarse_grid_finds_the_same(monkeypatch, steps):
    monkeypatch.setattr(search, "COARSE", 10)
    table = random_costs(steps, "curves")
    whole = Frontier(table, GAINS, 4, 2, least=2 * steps, most=2 * steps)
    found = cheapest(table, GAINS, 4, 2, 2 * steps, 2 * steps)
    cost = sum(table[m][0, i] for i, m in enumerate(np.repeat(*zip(*found.segments))))
    assert cost == pytest.approx(whole.cost[0, 2 * steps], abs=1e-9)


def test_a_search_that_does_not_fit_is_refused_with_what_it_would_take():
    search.refuse_too_large({"h": 0, "a": 1}, 1_000_000, 3)
    with pytest.raises(
        StepimpError, match=r"T = 9,000,000.*would take [\d.]+ GB.*enough for T = \d"
    ):
        search.refuse_too_large(GAINS, 9_000_000, 3)


def test_a_stretched_schedule_keeps_its_boundaries():
    short = parse("L1,H3,L6", "h", "l")
    assert stretched(short, 1000) == parse("L100,H300,L600", "h", "l")
    assert stretched(short, 10) == short
    assert stretched(parse("L1,H999", "h", "l"), 100) == parse("H100", "h", "l")
