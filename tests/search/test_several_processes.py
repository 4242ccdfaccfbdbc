"""A search that several processes share."""

import itertools
import threading

import numpy as np
import pytest
from searching import run, two_fakes

from stepimp.processes import Processes
from stepimp.results import Run
from stepimp.sampling import sampler
from stepimp.search.elimination import Elimination


@pytest.fixture(scope="module")
def fakes():
    return two_fakes()


class Thread(Processes):
    """One of several threads that play processes; `board` is where they leave what they found."""

    def __init__(self, rank, count, board, barrier):
        self.rank, self.count, self.board, self.barrier = rank, count, board, barrier

    def gather(self, results):
        self.board[self.rank] = dict(results)
        self.barrier.wait()
        union = {key: value for part in self.board for key, value in part.items()}
        self.barrier.wait()
        return union


def run_together(denoisers, count, journals=None, **options):
    """What each of `count` processes returns."""
    board, barrier, results = [None] * count, threading.Barrier(count, timeout=60), [None] * count

    def work(rank):
        journal = journals and journals(rank)
        results[rank] = run(
            denoisers, processes=Thread(rank, count, board, barrier), journal=journal, **options
        )

    threads = [threading.Thread(target=work, args=[rank]) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("elimination", [None, Elimination(2, 0.9)])
def test_processes_share_the_tree_and_agree_on_the_end(fakes, count, elimination):
    alone = run(fakes, elimination=elimination, samples=20)
    for result in run_together(fakes, count, elimination=elimination, samples=20):
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(alone, result))


def test_parts_are_disjoint_and_complete():
    items = list(range(11))
    parts = [Thread(rank, 3, None, None).part(items) for rank in range(3)]
    assert (
        list(itertools.chain(*parts)) == items and max(map(len, parts)) - min(map(len, parts)) <= 1
    )


def test_a_search_begun_by_three_processes_is_ended_by_one(fakes, tmp_path):
    """Whatever number of processes goes on: the journals of all are taken over, and removed in the
    end.
    """
    three = Run(tmp_path, "search", {"a": 1}, {})
    run_together(fakes, 3, lambda rank: three.journal(rank, 3))
    names = [f"search-{three.key}{part}" for part in (".1.journal", ".2.journal", ".journal")]
    assert [path.name for path in three.journals()] == names
    for path in three.journals():  # the last unit of each is lost
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:-1]) + lines[-1][:9])
    run_of_two = [three.journal(rank, 2) for rank in range(2)]
    assert (
        sum(len(journal.done) for journal in run_of_two)
        == len({*run_of_two[0].done, *run_of_two[1].done})
        == 27
    )
    journal = three.journal()
    counts = sampler.Counts()
    result = run(fakes, journal=journal, counts=counts)
    assert len(journal.done) == 30 and all(np.array_equal(a, b) for a, b in zip(result, run(fakes)))
    three.finish([])
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
