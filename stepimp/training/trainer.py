"""Trains any model on transformers' Trainer: resumable, with averaged weights, in one process or
several.
"""

import json
import math
import os
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import Dataset
from transformers import PrinterCallback, TrainerCallback, TrainingArguments, set_seed
from transformers.utils import logging

from stepimp.errors import StepimpError
from stepimp.results import write_atomically
from stepimp.training.muon import MuonAdamW


class EMA(TrainerCallback):
    """Exponential moving average of the weights, saved and restored with the Trainer's checkpoints.

    It is the last file written into a checkpoint and appears there whole: a checkpoint that has it
    is complete."""

    FILE = "ema.pt"

    def __init__(self, model, decay: float):
        self.model, self.decay, self.average = model, decay, None

    def start(self, checkpoint: Path | None):
        """From the model as it is, which must be on its device by now, or from a checkpoint."""
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(self.decay))
        if checkpoint:
            self.average.load_state_dict(torch.load(checkpoint / self.FILE, weights_only=True))

    def on_train_begin(self, args, state, control, **_):
        self.start(self._folder(args, state) if state.global_step else None)

    def on_step_end(self, args, state, control, **_):
        self.average.update_parameters(self.model)

    def on_save(self, args, state, control, **_):
        if state.is_world_process_zero:
            folder = self._folder(args, state)
            torch.save(self.average.state_dict(), folder / "ema.tmp")
            os.replace(folder / "ema.tmp", folder / self.FILE)

    @staticmethod
    def _folder(args, state):
        return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def last_checkpoint(work: Path) -> Path | None:
    """The newest complete checkpoint in a work folder."""
    complete = [file.parent for file in work.glob(f"checkpoint-*/{EMA.FILE}")]
    return max(complete, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)


class TokenDataset(Dataset):
    def __init__(self, tokens: torch.Tensor):
        self.tokens = tokens

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        return {"input_ids": self.tokens[index]}


def work_folder(folder: Path) -> Path:
    """Where the checkpoints of a member's training are until it is finished."""
    return folder.with_name(folder.name + ".training")


def join_processes() -> PartialState:
    """The processes that torchrun started, this one among them. On a CPU accelerate looks for
    others only when told to.
    """
    return PartialState(cpu=not torch.cuda.is_available())


def claim(work: Path, origin: dict):
    """Notes what is trained in a work folder. Raises StepimpError if the checkpoints there are of
    another training.
    """
    note, text = work / "training.json", json.dumps(origin, sort_keys=True, indent=1)
    if note.exists() and note.read_text("utf-8") != text:
        raise StepimpError(
            f"{work} holds an unfinished training with other options or text: run its command again or delete it."
        )
    work.mkdir(parents=True, exist_ok=True)
    if PartialState().is_main_process:
        write_atomically(note, text)


@contextmanager
def full_disk_explained(work: Path):
    """torch and safetensors report a full disk each in its own way; all of them become one
    StepimpError.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and "inline_container" not in str(error):
            raise
        raise StepimpError(
            f"Cannot write to {work}; the disk may be full. Free space and run the same command again: it goes on from "
            "the last checkpoint."
        ) from error


def fit(
    model, trainer_class, matrices, folder: Path, tokens, recipe: dict, seed: int, callbacks=()
):
    """Trains a model and returns its averaged weights, in eval mode. Resumes from the newest
    checkpoint.

    trainer_class: a Trainer with the objective; matrices: those of its parameters that Muon takes;
    recipe: steps, batch_size, muon_lr, adamw_lr, warmup, ema, save_every, bf16."""
    if recipe["bf16"] and not torch.cuda.is_available():
        model.set_attn_implementation(
            "eager"
        )  # the backward pass of torch's own is 5 times slower in bf16 on a CPU
    ema = EMA(model, recipe["ema"])
    optimizer = MuonAdamW(model, matrices, recipe["muon_lr"], recipe["adamw_lr"])
    work, warmup, steps = work_folder(folder), recipe["warmup"], recipe["steps"]

    def cosine(step):
        return min(1, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(1, step / steps)))

    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=steps,
        per_device_train_batch_size=recipe["batch_size"],
        seed=seed,
        data_seed=seed,
        bf16=recipe["bf16"],
        max_grad_norm=1.0,
        logging_steps=max(1, min(50, steps // 10)),
        save_steps=recipe["save_every"],
        save_total_limit=2,  # the older one serves while the newer is being written
        dataloader_drop_last=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = trainer_class(
        model=model,
        args=arguments,
        train_dataset=TokenDataset(tokens),
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, cosine)),
        callbacks=[ema, *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    batch = recipe["batch_size"] * arguments.world_size
    if len(tokens) < batch:
        raise StepimpError(
            f"The text has {len(tokens)} sequences, less than one batch of {batch}: lower --batch-size."
        )
    checkpoint = last_checkpoint(work)
    if checkpoint == work / f"checkpoint-{steps}":  # the Trainer would take one step more
        ema.start(checkpoint)
    else:
        with full_disk_explained(work):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return trainer.accelerator.unwrap_model(
        ema.average.module, keep_fp32_wrapper=False
    ).eval()  # no more bf16


def start_training(seed: int):
    """The same draws for the same seed, and no progress but our own."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    set_seed(seed)


def save(model, tokenizer, folder: Path, loss: float, weights: str):
    """Writes a trained model as a Hugging Face folder. loss: held-out; weights: the dtype to
    store.
    """
    if not math.isfinite(loss):
        raise StepimpError(
            f"{folder.name} diverged: delete {work_folder(folder)} and train with a lower --muon-lr and --adamw-lr."
        )
    if PartialState().is_main_process:
        with full_disk_explained(folder):
            model.to(getattr(torch, weights)).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
