"""Progress on stderr: a bar on a terminal, a line now and then in a log."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback


class TrainingProgress(TrainerCallback):
    """The training's progress bar on a terminal; elsewhere the loss from time to time."""

    def __init__(self):
        self.console = Console(stderr=True)
        self.bar = None

    def on_train_begin(self, args, state, control, **_):
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            console=self.console, disable=not self.console.is_terminal,
        )  # fmt: skip
        name = args.output_dir.rstrip("/").rsplit("/", 1)[-1].removesuffix(".training")
        self.task = self.bar.add_task(name, total=state.max_steps, completed=state.global_step)
        self.name = name
        self.bar.start()

    def on_step_end(self, args, state, control, **_):
        self.bar.update(self.task, completed=state.global_step)

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" not in (logs or {}):
            return
        if self.console.is_terminal:
            self.bar.update(self.task, description=f"{self.name} loss {float(logs['loss']):.3f}")
        else:
            self.console.print(f"{self.name} step {state.global_step}/{state.max_steps} loss {float(logs['loss']):.4f}")

    def on_train_end(self, args, state, control, **_):
        self.bar.stop()
