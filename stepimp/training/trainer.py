"""Trains any model on transformers' Trainer: resumable, with averaged weights, in one process or
several.
"""

import json
import math
import shutil
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from stepimp.agreement import require_same
from stepimp.checks import parsed
from stepimp.errors import FULL, Contradiction, StepimpError, advice
from stepimp.models.tokenizers import quiet_transformers, save_tokenizer
from stepimp.models.weights import save_model
from stepimp.processes import Processes
from stepimp.results import write_atomically
from stepimp.scratch import copy_folder
from stepimp.training.callbacks import (
    EMA,
    Deadline,
    Diverged,
    OwnDraws,
    Snapshots,
    StableCheckpoint,
)
from stepimp.training.intact import last_checkpoint, refuse_separate, step_of
from stepimp.training.muon import MuonAdamW
from stepimp.training.recipe import KEPT_CHECKPOINTS, MAY_CHANGE, Recipe
from stepimp.training.sharding import check_resumable, configure
from stepimp.wording import counted

NOTE = "training.json"  # what is trained in a work folder


class TokenDataset(Dataset):
    """Sequences [N, L] as the Trainer's inputs."""

    def __init__(self, tokens: torch.Tensor):
        self.tokens = tokens

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        return {"input_ids": self.tokens[index].long()}


def work_folder(folder: Path) -> Path:
    """Where the checkpoints of a member's training are until it is finished."""
    return folder.with_name(folder.name + ".training")


def join_processes() -> PartialState:
    """The processes that torchrun or accelerate started, this one among them. On a CPU accelerate
    looks for others only when asked to.
    """
    Processes()  # joins them, or says why that is not possible
    return PartialState(cpu=not torch.cuda.is_available())


def claim(work: Path, origin: dict, recipe: Recipe):
    """Notes what is trained in a work folder, and goes back to the end of the plateau where a
    trapezoid has become longer.

    origin: shape, seed and text, as JSON has them. Raises StepimpError if the checkpoints there are
    of another training, or if another process is about to train something else.
    """
    require_same(Processes(), origin["shape"] | origin | recipe.as_dict())
    note = work / NOTE
    if note.exists():
        earlier, earlier_recipe = read_note(note)
        if earlier != origin or not recipe.continues(earlier_recipe):
            raise StepimpError(
                f"{work} holds an unfinished training with other options or text: run its command "
                "again or delete it."
            )
        if recipe.extends(earlier_recipe) and PartialState().is_main_process:
            with full_disk_explained(work):
                rewind(work, earlier_recipe)
    work.mkdir(parents=True, exist_ok=True)
    if PartialState().is_main_process:
        text = json.dumps(origin | {"recipe": recipe.as_dict()}, sort_keys=True, indent=1)
        write_atomically(note, text)
    PartialState().wait_for_everyone()


def refuse_other(folder: Path, recorded: dict, asked: dict, earlier: dict, recipe: Recipe):
    """Raises Contradiction where a finished model was trained in another way than is asked for,
    with what differs. How often it was saved, and on what machine code it ran, does not count.
    """
    ignored = set(MAY_CHANGE) - {"weights"}
    recorded = recorded | earlier
    asked = asked | {k: v for k, v in recipe.as_dict().items() if k not in ignored}
    different = [
        f"{name} {recorded[name]}, not {value}"
        for name, value in asked.items()
        if recorded.get(name, value) != value
    ]
    if different:
        raise Contradiction(
            f"{folder} is finished, and was trained with {'; '.join(different)}: ask for the same "
            "or train into a new folder."
        )


def read_note(file: Path) -> tuple[dict, Recipe]:
    """What a work folder holds, and its recipe. Raises StepimpError for a damaged note."""
    try:
        earlier = parsed(file.read_bytes())
        if not isinstance(earlier, dict):
            raise ValueError("it is not an object")
        return earlier, Recipe(**earlier.pop("recipe"))
    except (ValueError, KeyError, TypeError) as error:
        raise StepimpError(
            f"{file} is damaged ({error}): delete {file.parent} to train from the start."
        ) from error


def rewind(work: Path, earlier: Recipe):
    """Drops the checkpoints of a trapezoid's decay and brings back the last one before it."""
    for checkpoint in work.glob("checkpoint-*"):
        if step_of(checkpoint) > earlier.stable_step:
            shutil.rmtree(checkpoint)
    for kept in (work / StableCheckpoint.FOLDER).glob("checkpoint-*"):
        if step_of(kept) <= earlier.stable_step and not (work / kept.name).exists():
            copy_folder(kept, work / kept.name)


def finish(work: Path, recipe: Recipe):
    """Removes a finished training's checkpoints, except what a longer trapezoid resumes from."""
    if recipe.schedule != "trapezoid":
        return shutil.rmtree(work)
    for checkpoint in work.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


TORCH_WRITES = ("inline_container", "iostream")  # in messages of torch.save that cannot write


@contextmanager
def full_disk_explained(work: Path):
    """torch and safetensors report a full disk each in its own way; all of them become one
    StepimpError.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and not any(text in str(error) for text in TORCH_WRITES):
            raise
        if isinstance(error, OSError) and error.errno not in (None, *FULL):
            raise StepimpError(
                f"Cannot write to {work} ({error.strerror}). {advice(error)}"
            ) from error
        raise StepimpError(
            f"Cannot write to {work}; the disk may be full. Free space and run the same command "
            "again: it continues from the last checkpoint."
        ) from error


def fit(
    model,
    trainer_class,
    matrices: list[torch.nn.Parameter],
    folder: Path,
    tokens: torch.Tensor,
    recipe: Recipe,
    seed: int,
    tokenizer,
    held_out_loss,
    callbacks,
):
    """Trains a model and returns its averaged weights, in eval mode. Resumes from the newest
    checkpoint.

    trainer_class: a Trainer with the objective. matrices: the parameters that Muon takes. tokens:
    [N, L]. tokenizer and held_out_loss (from a model to nats per token) are for snapshots, which
    are written to FOLDER.snapshots. Raises StepimpError where it diverges, and at a
    `Deadline` among the callbacks.
    """
    ema = EMA(model, recipe.ema)
    ours = [ema, OwnDraws()]
    if recipe.schedule == "trapezoid":
        ours.append(StableCheckpoint(recipe))
    if recipe.snapshot_every:
        snapshots = folder.with_name(folder.name + ".snapshots")
        ours.append(Snapshots(ema, snapshots, recipe, tokenizer, held_out_loss))
    work = work_folder(folder)
    trainer = make_trainer(
        model, trainer_class, matrices, work, tokens, recipe, seed, [*ours, *callbacks, Diverged()]
    )
    check_enough(tokens, recipe, trainer.args.world_size)
    with PartialState().main_process_first():  # which removes the damaged ones
        checkpoint = last_checkpoint(work)
    refuse_separate(work, step_of(checkpoint) if checkpoint else 0)
    if checkpoint == work / f"checkpoint-{recipe.steps}":  # the Trainer would take one step more
        ema.start(checkpoint)
        return ema.averaged()
    if checkpoint:
        check_resumable(checkpoint, trainer)
    with full_disk_explained(work):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.state.global_step < recipe.steps:
        minutes = next(part.minutes for part in callbacks if isinstance(part, Deadline))
        raise StepimpError(
            f"{folder.name} stopped after {counted(minutes, 'minute')} at step "
            f"{trainer.state.global_step} of {recipe.steps}: run the same command again to "
            "continue."
        )
    return ema.averaged()


def make_trainer(
    model,
    trainer_class,
    matrices: list[torch.nn.Parameter],
    work: Path,
    tokens: torch.Tensor,
    recipe: Recipe,
    seed: int,
    callbacks,
) -> Trainer:
    """The Trainer of a model, with checkpoints in `work`. The arguments are those of `fit`."""
    if recipe.bf16 and not torch.cuda.is_available():
        # The backward pass of torch's own is 5 times slower in bf16 on a CPU.
        model.set_attn_implementation("eager")
    trainer = trainer_class(
        model=model,
        args=training_arguments(work, recipe, seed),
        train_dataset=TokenDataset(tokens),
        callbacks=callbacks,
    )
    configure(trainer)
    # As an argument the Trainer refuses an optimizer of weights that it will shard.
    trainer.optimizer = MuonAdamW(model, matrices, recipe.muon_lr, recipe.adamw_lr)
    trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, recipe.rate)
    trainer.remove_callback(PrinterCallback)
    return trainer


def check_enough(tokens: torch.Tensor, recipe: Recipe, processes: int):
    """Raises StepimpError where [N, L] sequences are less than one batch."""
    batch = recipe.batch_size * processes
    if len(tokens) < batch:
        raise StepimpError(
            f"The text has {counted(len(tokens), 'sequence')}, less than one batch of {batch}: "
            "choose a smaller batch size."
        )


def training_arguments(work: Path, recipe: Recipe, seed: int) -> TrainingArguments:
    """The Trainer's arguments for a recipe, with checkpoints in `work`."""
    gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(work),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch_size,
        seed=seed,
        data_seed=seed,
        bf16=recipe.bf16,
        max_grad_norm=1.0,
        logging_steps=max(1, min(50, recipe.steps // 10)),
        logging_nan_inf_filter=False,
        save_steps=recipe.save_every,
        save_total_limit=KEPT_CHECKPOINTS,
        dataloader_drop_last=True,
        dataloader_pin_memory=gpu,
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not gpu,
    )


def start_training(seed: int):
    """Seeds all random draws and turns off the progress bars of transformers."""
    quiet_transformers()
    set_seed(seed)


def save(model, tokenizer, folder: Path, loss: float, weights: str):
    """Writes a trained model as a Hugging Face folder. loss: held-out; weights: the dtype to
    store.
    """
    if not math.isfinite(loss):
        raise StepimpError(
            f"{folder.name} diverged: delete {work_folder(folder)} and train with lower learning "
            "rates."
        )
    if PartialState().is_main_process:
        with full_disk_explained(folder):
            save_model(model.to(getattr(torch, weights)), folder)
            save_tokenizer(tokenizer, folder)
