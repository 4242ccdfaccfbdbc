"""Progress on stderr, a bar only on a terminal. rich is imported where it is used, for a fast
`--help`.
"""

import os
import signal
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import click

from ._errors import Terminated
from ._terminal import LITERAL

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

# the environment variable with the file descriptor that progress is reported to, if any
PIPE = "STEPIMP_PROGRESS"


@cache
def stderr() -> "Console":
    """The console of all progress: one, so that lines of text are printed above its bar."""
    from rich.console import Console

    return Console(stderr=True, **LITERAL)


def progress_bar(transient: bool = True) -> "Progress":
    """A rich Progress on stderr, disabled outside a terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=stderr(),
        disable=not stderr().is_terminal,
        transient=transient,
    )


@contextmanager
def progress(description: str):
    """A bar, or the pipe of whoever runs this command; yields the function (done, total) that moves
    it.
    """
    if PIPE in os.environ:
        yield lambda done, total: report(int(os.environ[PIPE]), done, total)
        return
    with progress_bar() as bar:
        # Not shown before the work begins: what is made first may have a bar of its own.
        task = bar.add_task(description, total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def report(pipe: int, done: int, total: int):
    """A line "done total". Where the reader was killed this process ends too, as after a signal."""
    try:
        os.write(pipe, f"{done} {total}\n".encode())
    except BrokenPipeError as error:
        raise Terminated(signal.SIGTERM) from error


def status(message: str):
    """What is going on, for a person at a terminal."""
    if stderr().is_terminal:
        stderr().print(message, style="dim", highlight=False)


def log(message: str):
    """What is going on, where no person watches."""
    if not stderr().is_terminal:
        click.echo(message, err=True)
