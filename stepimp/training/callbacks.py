"""What happens beside the steps of a training: averaged weights, checkpoints, snapshots and an end
in time.
"""

import copy
import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import TrainerCallback

from stepimp.errors import StepimpError
from stepimp.models.tokenizers import save_tokenizer
from stepimp.models.weights import save_model
from stepimp.results import write_atomically
from stepimp.scratch import copy_folder, replacing
from stepimp.training.recipe import Recipe
from stepimp.training.sharding import gathered, sharded_like


def checkpoint_folder(args, state) -> Path:
    """The folder of the Trainer's checkpoint at the present step."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


class EMA(TrainerCallback):
    """Exponential moving average of the weights, saved and restored with the Trainer's checkpoints.

    It is the last file written into a checkpoint and appears there whole: a checkpoint that has it
    is complete.
    """

    FILE = "ema.pt"

    def __init__(self, model, decay: float):
        self.model, self.decay = model, decay
        self.template = copy.deepcopy(model)  # before it is sharded, when it cannot be copied
        self.average: list[torch.Tensor]  # of each parameter, sharded like it; made by `start`
        self.steps = 0

    def start(self, checkpoint: Path | None):
        """From the model as it is, which must be on its device by now, or from a checkpoint."""
        self.parameters = [p.detach() for p in self.model.parameters()]
        self.average = [p.clone() for p in self.parameters]
        if checkpoint:
            state = torch.load(checkpoint / self.FILE, weights_only=True)
            self.steps = int(state["n_averaged"])
            for (name, _), average in zip(self.template.named_parameters(), self.average):
                average.copy_(sharded_like(state[f"module.{name}"], average))

    @torch.no_grad()
    def averaged(self):
        """A copy of the averaged model in eval mode, whole in every process; all of them must call
        it.
        """
        model = copy.deepcopy(self.template).to(self.model.device)
        for p, average in zip(model.parameters(), self.average):
            p.copy_(gathered(average))
        return model.eval()

    def on_train_begin(self, args, state, control, **_):
        self.start(checkpoint_folder(args, state) if state.global_step else None)

    def on_step_end(self, args, state, control, **_):
        # After the first step the average is what that step has made.
        weight = 1 - self.decay if self.steps else 1.0
        torch._foreach_lerp_(self.average, self.parameters, weight)
        self.steps += 1

    def on_save(self, args, state, control, **_):
        names = [name for name, _ in self.template.named_parameters()]
        averages = {f"module.{name}": gathered(p) for name, p in zip(names, self.average)}
        if state.is_world_process_zero:
            folder = checkpoint_folder(args, state)
            with replacing(folder / self.FILE) as scratch:
                torch.save({"n_averaged": torch.tensor(self.steps)} | averages, scratch)


class OwnDraws(TrainerCallback):
    """Each process draws its own times and masks, where the Trainer has seeded all alike; a
    checkpoint holds the generator of each.
    """

    APART = 1_000_003  # far from the seeds of other members

    def on_train_begin(self, args, state, control, **_):
        if args.process_index and not state.global_step:
            torch.manual_seed((args.seed + self.APART * args.process_index) % 2**32)


class Diverged(TrainerCallback):
    """Ends a training whose loss has become infinite or NaN. Raises StepimpError."""

    def on_log(self, args, state, control, logs, **_):
        if not math.isfinite(logs.get("loss", 0.0)):
            work = Path(args.output_dir)
            raise StepimpError(
                f"{work.stem} diverged before step {state.global_step}: delete {work} and train "
                "with lower learning rates."
            )


class StableCheckpoint(TrainerCallback):
    """Keeps the checkpoint at the end of a trapezoid's plateau, from which a longer one resumes.

    Comes after `EMA`, which completes the checkpoint.
    """

    FOLDER = "stable"

    def __init__(self, recipe: Recipe):
        self.step = recipe.stable_step

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            control.should_save = True

    def on_save(self, args, state, control, **_):
        if state.global_step == self.step and state.is_world_process_zero:
            kept = Path(args.output_dir) / self.FOLDER
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(exist_ok=True)
            source = checkpoint_folder(args, state)
            copy_folder(source, kept / source.name)

    def on_train_begin(self, args, state, control, **_):
        if state.global_step:  # resumed, maybe from the one whose copy has failed
            self.on_save(args, state, control)


class Snapshots(TrainerCallback):
    """Keeps the averaged weights as a model of their own every `snapshot_every` steps, in
    FOLDER/STEP, with its loss on a part of the held-out text in snapshot.json.
    """

    def __init__(self, ema: EMA, folder: Path, recipe: Recipe, tokenizer, held_out: Callable):
        """held_out: from a model to its held-out loss in nats per token."""
        self.ema, self.folder, self.recipe = ema, folder, recipe
        self.tokenizer, self.held_out = tokenizer, held_out

    def on_step_end(self, args, state, control, **_):
        if state.global_step % self.recipe.snapshot_every:
            return
        model = self.ema.averaged()
        if not state.is_world_process_zero:
            return
        folder = self.folder / str(state.global_step)
        sequences = state.global_step * self.recipe.batch_size * args.world_size
        facts = {"step": state.global_step, "sequences": sequences}
        facts["heldout_nats_per_token"] = self.held_out(model)
        save_model(model.to(getattr(torch, self.recipe.weights)), folder)
        save_tokenizer(self.tokenizer, folder)
        write_atomically(folder / "snapshot.json", json.dumps(facts, indent=1) + "\n")


class Deadline(TrainerCallback):
    """Saves a checkpoint and ends the training after some minutes, counted from now."""

    def __init__(self, minutes: float):
        self.minutes, self.end = minutes, time.monotonic() + 60 * minutes

    def on_step_end(self, args, state, control, **_):
        late = torch.tensor(float(time.monotonic() > self.end))
        if args.world_size > 1:  # all processes stop at the same step
            late = late.to(args.device)
            torch.distributed.all_reduce(late, torch.distributed.ReduceOp.MAX)
        if late and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True
