"""Progress bars on stderr, only on a terminal; and the one bar of a command that runs others."""

import os
from contextlib import contextmanager, suppress
from datetime import timedelta

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

# the environment variable with the file descriptor that progress is reported to, if any
PIPE = "STEPIMP_PROGRESS"
stderr = Console(stderr=True)


def progress_bar(transient: bool = True) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=stderr,
        disable=not stderr.is_terminal,
        transient=transient,
    )


@contextmanager
def progress(description: str):
    """A bar, or reports to the process that runs this command; yields a function (done, total) that
    moves it.
    """
    if PIPE in os.environ:
        yield lambda done, total: report(int(os.environ[PIPE]), done, total)
        return
    with progress_bar() as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def report(pipe: int, done: int, total: int):
    """Writes a line "done total" to the file descriptor."""
    with suppress(OSError):  # the reader may have gone, which must not stop the work
        os.write(pipe, f"{done} {total}\n".encode())


class TimeLeft(ProgressColumn):
    """Time left at the mean rate of the whole run, as the steps differ in speed."""

    def render(self, task):
        left = (
            timedelta(seconds=int(task.elapsed * task.remaining / task.completed))
            if task.completed
            else "-:--:--"
        )
        return Text(f"{left} left", style="progress.remaining")


class Overall:
    """One bar over several steps, shown while one of them runs; without a terminal a line per step.

    work: the work of all steps together, in the unit of `step`.
    """

    def __init__(self, work: float):
        shortened = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        self.bar = Progress(
            TextColumn("{task.description}", markup=False, table_column=shortened),
            BarColumn(12),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeLeft(),
            console=stderr,
            disable=not stderr.is_terminal,
            transient=True,
            expand=True,
        )
        self.task = self.bar.add_task("", total=work)

    @contextmanager
    def step(self, title: str, work: float):
        """Yields the function (done, total) that moves the bar through the step's part of it."""
        log(title)
        before = self.bar.tasks[0].completed

        def moved(done, total):
            self.bar.update(self.task, completed=before + work * done / total)

        self.bar.update(self.task, description=title)
        with self.bar:
            yield moved
        moved(1, 1)


def status(message: str):
    """Shows what the command is doing, at a terminal only."""
    if stderr.is_terminal:
        stderr.print(message, style="dim", highlight=False)


def log(message: str):
    """Writes what the command is doing to stderr where it is not a terminal."""
    if not stderr.is_terminal:
        click.echo(message, err=True)
