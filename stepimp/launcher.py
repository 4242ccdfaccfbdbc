"""What a launcher says in the environment: which process this is, of how many."""

import functools
import logging
import os
import platform

from stepimp.errors import StepimpError

log = logging.getLogger(__name__)

LAUNCH = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
MASTER = ("MASTER_ADDR", "MASTER_PORT")


def launched() -> tuple[int, int]:
    """(rank, number of processes) by the environment that a launcher sets; (0, 1) without one.

    Variables that are left over from a launcher do not count: without MASTER_ADDR and MASTER_PORT
    there is nothing to join. Raises StepimpError where they contradict each other.
    """
    given = {name: os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE")}
    if given["WORLD_SIZE"] in ("", "1"):
        return 0, 1
    if not all(map(os.environ.get, MASTER)):
        return 0, 1
    try:
        rank, count = int(given["RANK"]), int(given["WORLD_SIZE"])
        if not 0 <= rank < count:
            raise ValueError
    except ValueError as error:
        variables = ", ".join(f"{name}={value}" for name, value in given.items())
        raise StepimpError(
            f"{variables} in the environment do not name a process of a group: unset them, or "
            "start with torchrun."
        ) from error
    return rank, count


@functools.cache
def forget_leftovers():
    """Removes a launcher's variables that name no group, for libraries that take them at their
    word; logs that this process is alone.
    """
    if launched() == (0, 1) and os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
        log.warning(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but MASTER_ADDR and MASTER_PORT are not "
            "set: no other process is joined."
        )
        for name in LAUNCH:
            os.environ.pop(name, None)


def bare_tasks() -> int:
    """How many tasks srun started, where no launcher tells them apart (this process is one of
    them); 1 elsewhere.

    srun alone sets SLURM_STEP_NUM_TASKS: in the shell of an salloc or sbatch it is unset or 1.
    """
    count = os.environ.get("SLURM_STEP_NUM_TASKS", "")
    if os.environ.get("RANK") or "SLURM_PROCID" not in os.environ or not count.isdecimal():
        return 1
    return int(count)


def refuse_bare_tasks():
    """Raises StepimpError where every task of an srun would do all of the work."""
    if (count := bare_tasks()) > 1:
        raise StepimpError(
            f"srun started this command as {count} tasks, each of which would do all of the work: "
            "let it start one torchrun per node instead (srun torchrun ... -m stepimp ...; "
            "docs/several-machines.md has a script). If the tasks have nothing to do with each "
            "other, unset SLURM_STEP_NUM_TASKS."
        )


def leave_others():
    """Makes this process run alone: neither it nor a process that it starts joins a group."""
    for name in (*LAUNCH, *MASTER):
        os.environ.pop(name, None)


def machine() -> str:
    """Names the terminal that this process prints to: those that a launcher started on a machine
    share one, and those started by hand have each their own.
    """
    alone = "LOCAL_RANK" not in os.environ
    part = os.environ.get("RANK" if alone else "GROUP_RANK", "")
    return f"{platform.node()}/{part}"
