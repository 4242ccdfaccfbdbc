"""Several processes that share the work of one run.

A launcher such as torchrun, accelerate launch or `stepimp.commands._workers` starts the same
command several times and says in the environment who is who (RANK, WORLD_SIZE, MASTER_ADDR,
MASTER_PORT). Every process makes the same calls of `Processes` in the same order. Units of work are
the same for any number of processes, so that results do not depend on it.
"""

import atexit
import functools
import itertools
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from stepimp.errors import StepimpError
from stepimp.launcher import bare_tasks, forget_leftovers, launched, machine, refuse_bare_tasks
from stepimp.progress import Progress, no_progress

log = logging.getLogger(__name__)
T = TypeVar("T")

ARRIVAL = timedelta(minutes=5)
"""How long the processes wait for the last one to join."""
MARGIN = timedelta(seconds=10)
"""How much longer than that no answer of torch is waited for."""
SOON = 20.0
"""Seconds after which it is said that they wait."""
# A slow machine may finish its last unit hours after a fast one.
PATIENCE = timedelta(days=7)


class LostProcess(StepimpError):
    """Another process of this run has ended early."""


class Group:
    """The group that this process has joined: a store that all processes see, and exchange of
    values.
    """

    def __init__(self, rank: int, count: int):
        # Of a process that has ended, torch would warn as well, with pages of addresses.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        # If imported after the group is made, its functions would hold the group as a default
        # argument.
        import torch.distributed.nn  # noqa: F401

        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        message = f"Waiting for {count} processes at {where}, as WORLD_SIZE says."
        late = threading.Timer(SOON, lambda: log.info(message))
        late.daemon = True
        if os.environ.get("LOCAL_RANK", "0") == "0":  # one of each machine says so
            late.start()
        try:
            self.store = interruptible(lambda: meet(rank, count), ARRIVAL)
        except (RuntimeError, ValueError, TimeoutError) as error:
            reason = str(error).strip().partition("\n")[0] or "nothing there answers as a process"
            raise StepimpError(
                f"Process {rank} of {count} cannot join the others at {where} ({reason}). Start "
                "all of them with torchrun, or unset WORLD_SIZE to run one process."
            ) from error
        finally:
            late.cancel()
        self._numbers = itertools.count()
        # The group's threads, if left running, can abort a process as it ends.
        atexit.register(leave)

    def exchange(self, value) -> list:
        """The values of all processes, by rank. Waits for the last process."""
        from torch import distributed

        values: list[Any] = [None] * distributed.get_world_size()
        with loss_explained():
            interruptible(lambda: distributed.all_gather_object(values, value), PATIENCE)
        return values

    def new_counter(self) -> Callable[[int], int]:
        """A function that adds to a number which all processes share, and returns the sum."""
        name = f"stepimp/counter/{next(self._numbers)}"

        def add(amount: int) -> int:
            with loss_explained():
                return self.store.add(name, amount)

        return add


@contextmanager
def loss_explained() -> Iterator[None]:
    """Turns a lost connection to another process into LostProcess, wherever it is noticed: here, or
    in a training that exchanges gradients.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_loss(error):
            raise
        raise LostProcess(
            "Another process of this run has ended early. Finished work is kept: run the same "
            "command again, with any number of processes, to continue."
        ) from error


def is_loss(error: RuntimeError) -> bool:
    """Whether an error says that another process does not answer. Those of gloo are plain
    RuntimeErrors, which name one of its source files.
    """
    if "torch.distributed" not in sys.modules:
        return False
    from torch import distributed

    return isinstance(error, distributed.DistError) or "/gloo/" in str(error)


def meet(rank: int, count: int):
    """The store that all processes see, once they have joined torch's group."""
    import torch
    from torch import distributed

    store, *_ = next(distributed.rendezvous("env://", timeout=ARRIVAL))
    if store.add(f"stepimp/arrived/{rank}", 1) > 1:
        raise ValueError(f"another one has RANK={rank} as well")
    store.wait([f"stepimp/arrived/{each}" for each in range(count)], ARRIVAL)
    nccl = torch.cuda.is_available() and distributed.is_nccl_available()
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if nccl else "gloo",
        store=store,
        rank=rank,
        world_size=count,
        timeout=PATIENCE,
    )
    return store


def interruptible(function: Callable[[], T], limit: timedelta) -> T:
    """What a function returns. It runs in a thread of its own, so that Ctrl-C works while it waits
    outside of Python. Raises TimeoutError after a limit: another program at the port could keep it
    waiting forever.
    """
    result: Future[T] = Future()

    def run():
        try:
            result.set_result(function())
        except BaseException as error:  # raised again in the thread that waits
            result.set_exception(error)

    waiting = threading.Thread(target=run, daemon=True)
    waiting.start()
    value = result.result((limit + MARGIN).total_seconds())
    # A thread that still ends while the process does can abort it, in the destructors of torch.
    waiting.join()
    return value


def leave():
    """Ends the group, if training has not ended it already."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


join = functools.cache(Group)
"""The group, joined with the first call."""


class Processes:
    """The processes that share this run; without a launcher, this one alone."""

    group: Group | None = None

    def __init__(self):
        refuse_bare_tasks()
        forget_leftovers()
        self.rank, self.count = launched()
        """Number of this process, from 0, and number of processes."""
        if self.count > 1:
            self.group = join(self.rank, self.count)

    def counter(self) -> Callable[[int], int]:
        """A function that adds to a number which all processes share, and returns the sum."""
        if self.group:
            return self.group.new_counter()
        total = 0

        def add(amount: int) -> int:
            nonlocal total
            total += amount
            return total

        return add

    def share(self, items: Sequence[T]) -> Iterator[T]:
        """The items of a list, equal in all processes, that this process gets: whichever process is
        free takes the next one.
        """
        take = self.counter()
        while (number := take(1) - 1) < len(items):
            yield items[number]

    def gather(self, results: dict) -> dict:
        """The union of all processes' results, in each of them. Waits for the last process."""
        parts = self.group.exchange(results) if self.group else [results]
        return {key: value for part in parts for key, value in part.items()}

    def from_first(self, function: Callable[[], T]) -> T:
        """What a function returns in process 0, which alone calls it, in all processes."""
        return self.gather({0: function()} if self.rank == 0 else {})[0]

    def one_before_others(self, function: Callable[[], T]) -> T:
        """What a function returns, called in the first process of each machine before the others,
        which find what it has cached.
        """
        leads = self.count == 1 or os.environ.get("LOCAL_RANK", "0") == "0"
        value = function() if leads else None
        self.gather({})
        return function() if value is None else value

    def finish_units(
        self,
        units: dict[Any, T],
        work: Callable[[T], Any],
        journal,
        progress: Progress = no_progress,
    ) -> dict[Any, Any]:
        """The results of all units by name, in their order: those in the journals of all processes,
        and the missing ones, which the processes share.

        journal: this process's own, with what it can read of the others'. progress: called with the
        units that all processes have done, and their number.
        """
        done = self.gather(journal.done)
        missing = [name for name in units if name not in done]
        count, before = self.counter(), len(units) - len(missing)
        if missing:
            progress(before, len(units))
        for name in self.share(missing):
            journal.add(name, work(units[name]))
            progress(before + count(1), len(units))
        done = self.gather(journal.done)
        return {name: done[name] for name in units}

    def device(self, device: str) -> str:
        """This process's own GPU if there are several, else the device asked for."""
        if self.count > 1 and device in ("auto", "cuda"):
            import torch

            if torch.cuda.device_count() > 1:
                return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
        return device


def said_before(message: str, consequence: bool = False) -> bool:
    """Whether another process on this machine has asked this of the same message before; for a
    mere consequence of another error, of any message.
    """
    if bare_tasks() > 1:
        return os.environ["SLURM_PROCID"] != "0"
    if not join.cache_info().currsize:
        return False
    store = join(*launched()).store
    try:
        of_any = store.add(f"stepimp/said/{machine()}", 1)
        of_this = store.add(f"stepimp/said/{machine()}/{message}", 1)
    except RuntimeError:  # the process with the store has ended
        return False
    return (of_any if consequence else of_this) > 1
