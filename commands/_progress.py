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
    """A bar, or the pipe of whoever runs this command; yields the function (done, total) that moves
    it.
    """
    if PIPE in os.environ:
        yield lambda done, total: report(int(os.environ[PIPE]), done, total)
        return
    with progress_bar() as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def report(pipe: int, done: int, total: int):
    """A line "done total"."""
    with suppress(OSError):  # the reader has gone; the work still counts
        os.write(pipe, f"{done} {total}\n".encode())


class TimeLeft(ProgressColumn):
    """Time left at the rate of the whole run: the rate of the last seconds predicts little."""

    def render(self, task):
        left = (
            timedelta(seconds=int(task.elapsed * task.remaining / task.completed))
            if task.completed
            else "-:--:--"
        )
        return Text(f"{left} left", style="progress.remaining")


class Overall:
    """One bar over several steps that may run at once; a line per step where there is no terminal.

    work: how much all steps are together, in the unit of `moved`.
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
        self.done: dict[str, float] = {}

    def __enter__(self):
        self.bar.start()
        return self

    def __exit__(self, *error):
        self.bar.stop()

    def begun(self, title: str):
        log(title)
        self.bar.update(self.task, description=title)

    def moved(self, title: str, work: float):
        """work: what this step has done so far."""
        self.done[title] = work
        self.bar.update(self.task, completed=sum(self.done.values()))

    @contextmanager
    def paused(self):
        """Room for lines of text, which a bar would be drawn over."""
        self.bar.stop()
        try:
            yield
        finally:
            self.bar.start()


def status(message: str):
    """What is going on, for a person at a terminal."""
    if stderr.is_terminal:
        stderr.print(message, style="dim", highlight=False)


def log(message: str):
    """What is going on, where no person watches."""
    if not stderr.is_terminal:
        click.echo(message, err=True)
