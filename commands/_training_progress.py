"""The training's progress, as a Trainer callback: a bar on a terminal, a line per
logging step in a log.
"""

from pathlib import Path

from transformers import TrainerCallback

from ._progress import stderr


class TrainingProgress(TrainerCallback):
    """Moves a rich Progress, which the caller starts and stops."""

    def __init__(self, bar):
        self.bar = bar

    def on_train_begin(self, args, state, control, **_):
        self.name = Path(args.output_dir).name.removesuffix(".training")
        self.task = self.bar.add_task(self.name, total=state.max_steps, completed=state.global_step)

    def on_step_end(self, args, state, control, **_):
        self.bar.update(self.task, completed=state.global_step)

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" not in (logs or {}):
            return
        line = f"{self.name} loss {float(logs['loss']):.3f}"
        self.bar.update(self.task, description=line)
        if not stderr().is_terminal:
            stderr().print(f"{line} step {state.global_step}/{state.max_steps}", highlight=False)
