"""The one bar of a command that runs others; imported where these begin, as it loads rich."""

from contextlib import contextmanager
from datetime import timedelta

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from ._progress import log, stderr


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
    """One bar over several steps that may run at once; or a line per step outside a terminal.

    work: how much all steps are together, in the unit of `report`.
    """

    def __init__(self, work: float):
        shortened = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        self.bar = Progress(
            TextColumn("{task.description}", markup=False, table_column=shortened),
            BarColumn(12),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeLeft(),
            console=stderr(),
            disable=not stderr().is_terminal,
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

    def started(self, title: str):
        log(title)
        self.bar.update(self.task, description=title)

    def report(self, title: str, work: float):
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
