"""Threads that play the processes of a run."""

import itertools
import pickle
import threading
from collections import Counter
from unittest import mock

from stepimp.processes import Processes


class Board:
    """What the threads share in place of torch.distributed's store and group."""

    def __init__(self, count):
        self.count, self.values = count, [None] * count
        self.sums, self.lock = Counter(), threading.Lock()
        self.barrier = threading.Barrier(count, timeout=60)


class ThreadGroup:
    """`stepimp.processes.Group` among threads."""

    def __init__(self, board, rank):
        self.board, self.rank, self.numbers = board, rank, itertools.count()

    def exchange(self, value):
        self.board.values[self.rank] = pickle.dumps(value)
        self.board.barrier.wait()
        values = [pickle.loads(value) for value in self.board.values]
        self.board.barrier.wait()
        return values

    def new_counter(self):
        name = next(self.numbers)

        def add(amount):
            with self.board.lock:
                self.board.sums[name] += amount
                return self.board.sums[name]

        return add


def run_together(count, work):
    """What `work`, called as work(rank), returns in each of `count` threads, where `Processes()` is
    the process of that rank. An exception in one of them ends all, and is raised here.
    """
    here, board = threading.local(), Board(count)
    results, errors = [None] * count, []

    def init(self):
        self.rank, self.count, self.group = here.rank, count, here.group

    def run(rank):
        here.rank, here.group = rank, ThreadGroup(board, rank)
        try:
            results[rank] = work(rank)
        except threading.BrokenBarrierError:
            pass
        except BaseException as error:  # raised again below
            errors.append(error)
            board.barrier.abort()

    with mock.patch.object(Processes, "__init__", init):
        threads = [threading.Thread(target=run, args=[rank]) for rank in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return results
