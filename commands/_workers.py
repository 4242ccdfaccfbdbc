"""`--workers`: one command in several processes of this machine, which share its work."""

import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stepimp.agreement import require_same
from stepimp.errors import StepimpError
from stepimp.launcher import launched
from stepimp.processes import Processes

from ._options import ARGUMENTS
from ._threads import SMALL_MODEL
from ._work import block_tokens, cores

LAUNCHER = "STEPIMP_LAUNCHER"
"""Environment variable of a process that `launch` started: file descriptor of a pipe that closes
when its launcher ends."""
LOST = 75
"""Exit code of a process that ended because another one did."""
SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
"""Linux lists the threads of a core's physical core here."""
OF_A_MACHINE = {"workers", "data", "curves", "judge", "device", "attn", "as_json", "yes"}
"""Options that may differ between the machines of a run."""
PATIENCE = 10.0
"""Seconds that a process has to end after a signal."""

FEW_WORKERS = 8
"""Processes that any machine may be asked for."""
MOST_PER_CORE = 4

# Measured on one thread in float32: token-blocks of width 64, of 52,000 parameters.
PARAMETERS_PER_SECOND = 4e10
"""Parameters of a block, times the tokens that go through it, per second."""
WORTHWHILE = 30.0
"""Seconds of work for which it is worth to start a process, which takes six."""


def workers_option(function):
    """Adds --workers to a command that shares its work, and starts it again in that many
    processes. STEPIMP_WORKERS takes the option's place for the commands of `stepimp reproduce`.
    """

    option = click.option(
        "--workers",
        type=click.IntRange(min=1),
        callback=served,
        envvar="STEPIMP_WORKERS",
        help="Processes that share the work.  [default: as many as pay for their start, at most "
        "the physical cores; one where a model is large enough to use all cores itself, or runs on "
        "a GPU]",
    )
    return option(starts_again(function))


def served(ctx, param, value: int | None) -> int | None:
    """The number of processes, if this machine can serve as many."""
    most = max(FEW_WORKERS, MOST_PER_CORE * cores())
    if value and value > most:
        raise click.BadParameter(
            f"{value} processes on {cores()} cores would slow each other down: at most {most} here."
        )
    return value


def starts_again(function):
    """A command's callback that runs the command in several processes where that is asked for or
    pays.
    """

    @functools.wraps(function)
    def shared(*arguments, workers, **options):
        context = click.get_current_context()
        if launched() == (0, 1) and LAUNCHER not in os.environ:
            workers = workers or default_workers(context)
            if workers > 1:
                context.exit(launch(context.find_root().meta[ARGUMENTS], workers))
        require_same(Processes(), same_everywhere(context))
        return function(*arguments, **options)

    return shared


def same_everywhere(context: click.Context) -> dict[str, Any]:
    """The options that all processes must share, by the name that a user types: not paths, nor
    what concerns this machine alone.
    """
    return {
        option.opts[-1]: context.params.get(option.name)
        for option in context.command.params
        if option.name not in OF_A_MACHINE and not isinstance(option.type, click.Path)
    }


def default_workers(context: click.Context) -> int:
    """One process for each WORTHWHILE seconds of work, up to the physical cores, for models of a
    family that are small; one process for other models.

    A rule by the sizes alone: to measure would take longer than most commands, since every process
    takes seconds to start.
    """
    if on_gpu(context.params.get("device", "auto")):
        return 1
    try:
        seconds = expected_seconds(context)
    except StepimpError:  # the command will say so itself
        return 1
    return max(1, min(physical_cores(), int(seconds / WORTHWHILE)))


def expected_seconds(context: click.Context) -> float:
    """Seconds of the command on one thread; 0 where a model is large or not of the family."""
    from stepimp.models.family import family_folder, members

    folder = family_folder(context.params.get("family"))
    largest = max(members(folder), key=lambda row: row["parameters"] or 0)
    if not 0 < (largest["parameters"] or 0) <= SMALL_MODEL:
        return 0.0
    token_blocks = block_tokens(context.info_name or "", context.params, folder)
    return token_blocks * largest["parameters"] / largest["blocks"] / PARAMETERS_PER_SECOND


def on_gpu(device: str) -> bool:
    """Whether the models will run on a GPU, found without loading torch."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    return device.startswith("cuda") or (
        device == "auto" and not hidden and Path("/dev/nvidiactl").exists()
    )


def physical_cores() -> int:
    """The physical cores this process may use: of two that share one, one counts."""
    if not hasattr(os, "sched_getaffinity"):
        return cores()
    files = [Path(SIBLINGS.format(core)) for core in os.sched_getaffinity(0)]
    lists = {file.read_text() if file.exists() else str(file) for file in files}
    return len(lists)


def threads_each(count: int) -> str:
    """Threads of each of `count` processes, as OMP_NUM_THREADS has them."""
    return os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // count))


def launch(arguments: list[str], count: int) -> int:
    """Runs stepimp with these arguments in `count` processes of this machine, and returns the exit
    code.

    Ctrl-C, or the end of one of them, ends all. The first one prints, and errors are printed once.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alive, ours = os.pipe()
    common = {
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_USE_AGENT_STORE": False,  # a leftover would have no process open the port
        LAUNCHER: alive,
        "OMP_NUM_THREADS": threads_each(count),
    }
    children = []
    try:
        for rank in range(count):
            variables = {**common, "RANK": rank, "LOCAL_RANK": rank}
            children.append(
                subprocess.Popen(
                    [sys.executable, "-m", "stepimp", *arguments],
                    env=os.environ | {name: str(value) for name, value in variables.items()},
                    pass_fds=[alive],
                    # The first one may ask something at the terminal. Ctrl-C does not reach the
                    # others: the launcher ends them.
                    process_group=None if rank == 0 else 0,
                )
            )
        while not any(ended := [child.poll() for child in children]) and None in ended:
            time.sleep(0.05)
        time.sleep(0.2 if any(ended) else 0)  # for the one that ended first, whichever was seen
        return outcome([child.poll() for child in children])
    finally:
        stop(children)
        os.close(alive)
        os.close(ours)


def outcome(codes: list[int | None]) -> int:
    """The exit code of all. Raises StepimpError where a process was killed.

    codes: of the processes, None for one that still runs.
    """
    for rank, code in enumerate(codes):
        if code and (code < 0 or code > 128):
            name = signal.Signals(-code if code < 0 else code - 128).name
            raise StepimpError(
                f"Process {rank} of {len(codes)} was ended by {name}. Finished work is kept: run "
                "the same command again, with any number of processes, to continue."
            )
    failed = [code for code in codes if code]
    return next((code for code in failed if code != LOST), failed[0] if failed else 0)


def stop(children: list[subprocess.Popen]):
    """Ends the processes that still run."""
    for child in children:
        if child.poll() is None:
            child.terminate()
    end = time.monotonic() + PATIENCE
    for child in children:
        try:
            child.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:  # it waits for a process that does not answer
            child.kill()
            child.wait()


def end_with_launcher():
    """Ends this process as soon as the launcher that started it has ended."""
    pipe = os.environ.get(LAUNCHER)
    if pipe:
        threading.Thread(target=watch, args=[int(pipe)], daemon=True).start()


def watch(pipe: int, end: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGTERM)):
    """Waits until the pipe closes."""
    os.read(pipe, 1)
    end()
