"""How a search is cut into parts."""

import itertools

import pytest

from stepimp.search.coarse import Coarse
from stepimp.search.sharing import Unit, split

COSTS = {"H": 13, "L": 5}
CHUNKS = [(0, 4), (4, 8), (8, 10)]


def units(chunks=CHUNKS, segments=5, light_segments=2):
    names = Coarse("h", "l", 30, segments, light_segments).names()
    return [Unit(*chunk, name) for chunk in chunks for name in names]


def cost(part):
    """What a part runs: each beginning once in each chunk."""
    run = {
        (start, stop, name[:depth])
        for start, stop, name in part
        for depth in range(1, len(name) + 1)
    }
    return sum((stop - start) * COSTS[beginning[-1]] for start, stop, beginning in run)


def best(every, parts):
    """Cost of the most expensive part in the best of all ways to cut."""
    cuts = itertools.combinations(range(1, len(every)), parts - 1)
    return min(
        max(cost(every[i:j]) for i, j in itertools.pairwise((0, *edges, len(every))))
        for edges in cuts
    )


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_no_other_cut_has_a_cheaper_most_expensive_part(parts):
    every = units()
    cut = split(every, parts, COSTS)
    assert len(cut) == parts and list(itertools.chain(*cut)) == every
    assert max(map(cost, cut)) == best(every, parts)


def test_two_processes_share_a_search_almost_equally():
    every = units(CHUNKS[:1], segments=10, light_segments=4)
    first, second = map(cost, split(every, 2, COSTS))
    assert min(first, second) > 0.97 * max(first, second)
    assert first + second < 1.02 * cost(every)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_more_parts_than_units(count):
    cut = split(units()[:count], 5, COSTS)
    assert len(cut) == 5 and sorted(map(len, cut)) == [0] * (5 - count) + [1] * count
