"""Progress bars on stderr, only on a terminal."""

from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

stderr = Console(stderr=True)


def progress_bar(transient: bool = True) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        console=stderr, disable=not stderr.is_terminal, transient=transient,
    )  # fmt: skip


@contextmanager
def progress(description: str):
    """A bar; yields the function (done, total) that moves it."""
    with progress_bar() as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def status(message: str):
    """What is going on, for a person at a terminal."""
    if stderr.is_terminal:
        stderr.print(message, style="dim", highlight=False)
