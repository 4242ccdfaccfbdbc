"""Trains a judge: a small language model of GPT-2's architecture on the text that a family is
trained on.
"""

import functools
import json
import platform
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer

from stepimp.checks import fault, parsed
from stepimp.errors import StepimpError
from stepimp.models.loading import open_tokenizer
from stepimp.models.tokenizers import save_tokenizer
from stepimp.processes import Processes
from stepimp.progress import Progress, ProgressOption, no_progress, reporter
from stepimp.quality.judge import FOLDER
from stepimp.results import results_folder, write_atomically
from stepimp.text.blocks import load_blocks, tokenizer_fingerprint, train_tokenizer
from stepimp.training.held_out import finished_part, mean_loss
from stepimp.training.lock import locked
from stepimp.training.recipe import Recipe
from stepimp.training.trainer import (
    check_enough,
    claim,
    fit,
    join_processes,
    refuse_other,
    save,
    start_training,
    work_folder,
)

RECIPE = "recipe.json"  # written last: a judge with a recipe is finished


class Finished(TypedDict):
    """What is read of a finished judge's recipe."""

    parameters: int
    heldout_nats_per_token: float
    shape: dict[str, float]
    recipe: dict[str, Any]
    seed: int
    vocab_size: int
    data: str
    data_fingerprint: str
    column: NotRequired[str]


class JudgeTrainer(Trainer):
    """The mean over tokens of -log p(token | those before it)."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = model(input_ids=inputs["input_ids"], labels=inputs["input_ids"]).loss
        return (loss, {}) if return_outputs else loss


@torch.no_grad()
def held_out_nats(
    model,
    tokens: torch.Tensor,
    batch_size: int = 32,
    processes: Processes | None = None,
    progress: Progress = no_progress,
) -> float:
    """Mean over [N, L] blocks of -log p per token in nats; the first token of a block is not
    scored.

    processes, progress: as for `mean_loss`.
    """

    def loss(rows: torch.Tensor) -> float:
        part = tokens[rows].long().to(model.device)
        return model(part, labels=part).loss.item()

    return mean_loss(loss, len(tokens), batch_size, processes, progress)


def read_recipe(folder: Path) -> dict | None:
    """What a judge's folder says of its training, None where it is not finished."""
    file = Path(folder) / RECIPE
    if not file.exists():
        return None
    try:
        facts = parsed(file.read_bytes())
        wrong = fault(facts, Finished)
    except ValueError as error:
        wrong = str(error)
    if wrong:
        raise StepimpError(
            f"{file} is damaged ({wrong}): move {folder} away and train the judge again."
        )
    return facts


def open_text(work: Path, data: str, length: int, vocab_size: int, column: str):
    """(tokenizer, training blocks, held-out blocks): the tokenizer of an unfinished training in the
    work folder, where it has this size, else a BPE trained on the text.
    """
    tokenizer = open_tokenizer(str(work)) if (work / "tokenizer.json").exists() else None
    if tokenizer is None or len(tokenizer) != vocab_size:  # smaller where the text is short
        tokenizer = train_tokenizer(data, vocab_size, column)
    splits = ("train", "heldout")
    return tokenizer, *(load_blocks(data, tokenizer, length, split, column) for split in splits)


def new_judge(shape: dict, tokenizer) -> GPT2LMHeadModel:
    """A judge before its first step. shape: as for `train_judge`."""
    # SDPA's fast path has no dropout.
    rates = dict(resid_pdrop=shape["dropout"], embd_pdrop=shape["dropout"], attn_pdrop=0.0)
    sizes = {name: shape[name] for name in ("n_layer", "n_embd", "n_head", "n_positions")}
    ends = dict(bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id)
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes, **rates, **ends))


def layer_matrices(model: GPT2LMHeadModel) -> list[torch.nn.Parameter]:
    """The weights of attention and MLP in all layers, what Muon is for."""
    return [p for name, p in model.named_parameters() if p.ndim == 2 and ".h." in name]


def train_judge(
    family: Path,
    shape: dict,
    recipe: Recipe,
    data: str,
    vocab_size: int,
    seed: int,
    *,
    command: str = "",
    callbacks=(),
    column: str = "text",
    progress: ProgressOption = False,
) -> dict:
    """Trains the judge of a family folder into its folder `judge`. Returns what recipe.json beside
    its weights holds.

    shape: n_layer, n_embd, n_head, n_positions and dropout of the GPT-2 config. Text is tokenised
    by a byte-level BPE of its own. A killed training resumes from its last checkpoint, and a
    finished judge is left alone. progress: of the measurement on held-out text, True for a bar.
    Raises StepimpError while another process trains it, and Contradiction where it is there and was
    trained in another way.
    """
    progress = reporter(progress)
    folder, processes = results_folder(family) / FOLDER, join_processes()
    with locked(folder.parent, FOLDER) if processes.is_main_process else nullcontext():
        # Of machines without a common folder, that of process 0 has the judge.
        if finished := Processes().from_first(lambda: read_recipe(folder)):
            if processes.is_main_process:
                check_same(folder, finished, shape, recipe, data, vocab_size, seed, column)
            return finished
        length = shape["n_positions"]
        work = work_folder(folder)
        with processes.main_process_first():  # the others find the tokenizer and the blocks it made
            tokenizer, blocks, held_out = open_text(work, data, length, vocab_size, column)
            check_enough(blocks.tokens, recipe, processes.num_processes)
            if processes.is_main_process:
                save_tokenizer(tokenizer, work)
        claim(work, {"shape": shape, "seed": seed, "data": blocks.fingerprint}, recipe)
        start_training(seed)
        model = new_judge(shape, tokenizer)
        measured = finished_part(held_out.tokens)
        evaluate = functools.partial(held_out_nats, tokens=measured)
        final = fit(
            model,
            JudgeTrainer,
            layer_matrices(model),
            folder,
            blocks.tokens,
            recipe,
            seed,
            tokenizer,
            evaluate,
            callbacks,
        )
        nats = evaluate(final, processes=Processes(), progress=progress)
        save(final, tokenizer, folder, nats, recipe.weights)
        facts = {
            "heldout_nats_per_token": nats,
            "heldout_sequences": len(measured),
            "parameters": model.num_parameters(),
            "shape": shape,
            "recipe": recipe.as_dict(),
            "seed": seed,
            "data": data,
            "column": column,
            "data_fingerprint": blocks.fingerprint,
            "vocab_size": len(tokenizer),
            "command": command,
            "python": platform.python_version(),
        }
        if processes.is_main_process:
            write_atomically(folder / RECIPE, json.dumps(facts, indent=1) + "\n")
            shutil.rmtree(work)
        processes.wait_for_everyone()
        if processes.is_local_main_process and work.exists():
            shutil.rmtree(work)  # what the Trainer has left on a machine of its own folder
        return facts


def check_same(folder, facts: dict, shape, recipe: Recipe, data: str, vocab_size, seed, column):
    """Raises Contradiction where a finished judge was trained in another way than is asked for.

    Text is compared where it has another name, a vocabulary where it has another size: it is
    smaller than asked for where the text is short.
    """
    recorded = {"seed": facts["seed"], "vocabulary": facts["vocab_size"], "text": facts["data"]}
    asked = {"seed": seed, "vocabulary": vocab_size, "text": data}
    tokenizer = open_tokenizer(str(folder))
    if vocab_size > facts["vocab_size"]:
        trained = train_tokenizer(data, vocab_size, column)
        if tokenizer_fingerprint(trained) == tokenizer_fingerprint(tokenizer):
            asked["vocabulary"] = facts["vocab_size"]
    if data != facts["data"] or column != facts.get("column", "text"):
        blocks = load_blocks(data, tokenizer, shape["n_positions"], "train", column)
        recorded["text"], asked["text"] = facts["data_fingerprint"], blocks.fingerprint
    refuse_other(folder, recorded | facts["shape"], asked | shape, facts["recipe"], recipe)
