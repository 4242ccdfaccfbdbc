"""Which checkpoint a training resumes from: the newest that can be read as a whole."""

import logging
import shutil
import zipfile
from pathlib import Path

from stepimp.checks import parsed
from stepimp.errors import StepimpError
from stepimp.models.headers import read_header
from stepimp.processes import Processes
from stepimp.training.callbacks import EMA
from stepimp.training.sharding import CHECKPOINT

log = logging.getLogger(__name__)
WEIGHTS, STATE = "model.safetensors", "trainer_state.json"
OPTIMIZER = ("optimizer.pt",)  # of unsharded weights
TENSORS = ("scheduler.pt", EMA.FILE)  # as `torch.save` writes them, with checksums


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint, by its name."""
    return int(checkpoint.name.rpartition("-")[2])


def last_checkpoint(work: Path) -> Path | None:
    """The newest intact checkpoint in a work folder, None where no step has been saved.

    One that a kill left incomplete is passed over. Damaged ones are removed with a warning, so that
    they are not mixed with what the training saves next. Raises StepimpError where all are damaged.
    """
    complete = [file.parent for file in work.glob(f"checkpoint-[0-9]*/{EMA.FILE}")]
    damaged = {}
    for checkpoint in sorted(complete, key=step_of, reverse=True):
        if not (wrong := damage(checkpoint)):
            break
        damaged[checkpoint] = wrong
    else:
        if damaged:
            checkpoint, wrong = next(iter(damaged.items()))
            raise StepimpError(
                f"{checkpoint} is damaged ({wrong}), and there is no older one: restore it, or "
                f"delete {work} to train from the start."
            )
        return None
    for lost, wrong in damaged.items():
        log.warning(
            f"{lost} is damaged ({wrong}): going back to {checkpoint.name}, and removing it."
        )
        shutil.rmtree(lost, ignore_errors=True)
    return checkpoint


def refuse_separate(work: Path, step: int):
    """Raises StepimpError where processes would continue from different steps, as on machines of
    which one alone has the checkpoints.

    step: of this process's newest checkpoint, 0 where it has none.
    """
    processes = Processes()
    steps = processes.gather({processes.rank: step})
    if other := [rank for rank in steps if steps[rank] != steps[0]]:
        raise StepimpError(
            f"Process 0 continues from step {steps[0]} of {work}, but process {other[0]} has step "
            f"{steps[other[0]]} there: train into a folder that all machines share, or copy it "
            "from the machine of process 0 to the others."
        )


def damage(checkpoint: Path) -> str:
    """What is damaged in a checkpoint, in words; empty where all of it can be read."""
    try:
        read_header(checkpoint / WEIGHTS)
        random_states = sorted(file.name for file in checkpoint.glob("rng_state*.pth"))
        sharded = (checkpoint / CHECKPOINT[0]).exists()
        for name in (*(CHECKPOINT if sharded else OPTIMIZER), *TENSORS, *random_states):
            with zipfile.ZipFile(checkpoint / name) as file:
                if broken := file.testzip():
                    return f"{name}: wrong checksum of {broken}"
        state = parsed((checkpoint / STATE).read_bytes())
        if not isinstance(state, dict) or state.get("global_step") != step_of(checkpoint):
            return f"{STATE} is not that of step {step_of(checkpoint)}"
    except (StepimpError, OSError, ValueError, zipfile.BadZipFile) as error:
        return str(error)
    return ""
