"""The training's progress, as a Trainer callback: a bar on a terminal, a line per
logging step in a log.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import TrainerCallback

from stepimp.launcher import launched

from ._progress import progress_bar, stderr


@contextmanager
def training_progress() -> Iterator["TrainingProgress | None"]:
    """The progress of a training, in the process that shows it; None in all others."""
    if launched()[0] != 0:
        yield None
        return
    with progress_bar(transient=False) as bar:
        yield TrainingProgress(bar)


class TrainingProgress(TrainerCallback):
    """Moves a rich Progress, which the caller starts and stops."""

    def __init__(self, bar):
        self.bar = bar
        self.measuring, self.tenth = "", 0  # what is measured, and the tenths that were printed

    def on_train_begin(self, args, state, control, **_):
        self.name = Path(args.output_dir).name.removesuffix(".training")
        self.task = self.bar.add_task(self.name, total=state.max_steps, completed=state.global_step)

    def on_step_end(self, args, state, control, **_):
        self.bar.update(self.task, completed=state.global_step)

    def measured(self, name: str, done: int, total: int):
        """How far a finished model's measurement on held-out text is: in a log, every tenth."""
        line = f"{name} held-out text"
        if line != self.measuring:
            self.measuring, self.tenth = line, 0
            self.task = self.bar.add_task(line, total=total)
        self.bar.update(self.task, completed=done)
        if 10 * done // total > self.tenth and done < total and not stderr().is_terminal:
            self.tenth = 10 * done // total
            stderr().print(f"{line} sequence {done}/{total}", highlight=False)

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" not in (logs or {}):
            return
        line = f"{self.name} loss {float(logs['loss']):.3f}"
        self.bar.update(self.task, description=line)
        if not stderr().is_terminal:
            stderr().print(f"{line} step {state.global_step}/{state.max_steps}", highlight=False)
