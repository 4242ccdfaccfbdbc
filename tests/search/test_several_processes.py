"""A search that several processes share."""

import numpy as np
import pytest
from searching import run, two_fakes
from together import run_together

from stepimp.results import Run
from stepimp.sampling import sampler
from stepimp.search.elimination import Elimination


@pytest.fixture(scope="module")
def fakes():
    return two_fakes()


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("elimination", [None, Elimination(2, 0.9)])
def test_processes_share_the_tree_and_agree_on_the_end(fakes, count, elimination):
    alone = run(fakes, elimination=elimination, samples=20)
    results = run_together(count, lambda rank: run(fakes, elimination=elimination, samples=20))
    for result in results:
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(alone, result))


def test_a_search_begun_by_three_processes_is_ended_by_one(fakes, tmp_path):
    """The journals of all are read, and removed in the end."""

    def journal():
        return Run(tmp_path, "search", {"a": 1}, {}).journal()

    run_together(3, lambda rank: run(fakes, journal=journal()))
    files = sorted(tmp_path.iterdir())
    assert [file.suffixes for file in files] == [
        [".1", ".journal"],
        [".2", ".journal"],
        [".journal"],
    ]
    for path in files:  # the last unit of each is lost
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:-1]) + lines[-1][:9])
    two = run_together(2, lambda rank: set(journal().done))
    assert two[0] == two[1] and len(two[0]) == 27
    counts = sampler.Counts()
    result = run(fakes, journal=journal(), counts=counts)
    assert all(np.array_equal(a, b) for a, b in zip(result, run(fakes)))
    Run(tmp_path, "search", {"a": 1}, {}).finish([])
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
