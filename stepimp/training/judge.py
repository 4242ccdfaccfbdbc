"""Trains a judge: a small language model of GPT-2's architecture on the text that a family is
trained on.
"""

import functools
import json
import platform
import shutil
from pathlib import Path
from typing import TypedDict

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer

from stepimp.checks import fault, parsed
from stepimp.errors import StepimpError
from stepimp.models.loading import open_tokenizer
from stepimp.quality.judge import FOLDER
from stepimp.results import results_folder, write_atomically
from stepimp.text.blocks import load_blocks, train_tokenizer
from stepimp.training.recipe import Recipe
from stepimp.training.trainer import (
    check_enough,
    claim,
    fit,
    join_processes,
    save,
    start_training,
    work_folder,
)

RECIPE = "recipe.json"  # written last: a judge with a recipe is finished


class Finished(TypedDict):
    """What is read of a finished judge's recipe."""

    parameters: int
    heldout_nats_per_token: float


class JudgeTrainer(Trainer):
    """The mean over tokens of -log p(token | those before it)."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = model(input_ids=inputs["input_ids"], labels=inputs["input_ids"]).loss
        return (loss, {}) if return_outputs else loss


@torch.no_grad()
def held_out_nats(model, tokens: torch.Tensor, batch_size: int = 32) -> float:
    """Mean over [N, L] blocks of -log p per token in nats; the first token of a block is not
    scored.
    """
    total = 0.0
    for part in tokens.to(model.device).split(batch_size):
        total += model(part, labels=part).loss.item() * len(part)
    return total / len(tokens)


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


def train_judge(
    family: Path,
    shape: dict,
    recipe: Recipe,
    data: str,
    vocab_size: int,
    seed: int,
    command: str = "",
    callbacks=(),
) -> dict:
    """Trains the judge of a family folder into its folder `judge`. Returns what recipe.json beside
    its weights holds.

    shape: n_layer, n_embd, n_head, n_positions and dropout of the GPT-2 config. Text is tokenised
    by a byte-level BPE of its own. A killed training resumes from its last checkpoint, and a
    finished judge is left alone.
    """
    folder = results_folder(family) / FOLDER
    if finished := read_recipe(folder):
        return finished
    processes, length = join_processes(), shape["n_positions"]
    work = work_folder(folder)
    with processes.main_process_first():  # the others find the tokenizer and the blocks it made
        if (work / "tokenizer.json").exists():
            tokenizer = open_tokenizer(str(work))
        else:
            tokenizer = train_tokenizer(data, vocab_size)
        blocks, held_out = (
            load_blocks(data, tokenizer, length, split) for split in ("train", "heldout")
        )
        check_enough(blocks.tokens, recipe, processes.num_processes)
        if processes.is_main_process:
            tokenizer.save_pretrained(work)
    claim(work, {"shape": shape, "seed": seed, "data": blocks.fingerprint}, recipe)
    start_training(seed)
    rates = dict(
        resid_pdrop=shape["dropout"], embd_pdrop=shape["dropout"], attn_pdrop=0.0
    )  # SDPA's fast path has none
    sizes = {name: shape[name] for name in ("n_layer", "n_embd", "n_head", "n_positions")}
    ends = dict(bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes, **rates, **ends))
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".h." in name]
    evaluate = functools.partial(held_out_nats, tokens=held_out.tokens)
    tokens = blocks.tokens
    final = fit(
        model, JudgeTrainer, matrices, folder, tokens, recipe, seed, tokenizer, evaluate, callbacks
    )
    nats = evaluate(final)
    save(final, tokenizer, folder, nats, recipe.weights)
    facts = {
        "heldout_nats_per_token": nats,
        "parameters": model.num_parameters(),
        "shape": shape,
        "recipe": recipe.as_dict(),
        "seed": seed,
        "data": data,
        "data_fingerprint": blocks.fingerprint,
        "vocab_size": len(tokenizer),
        "command": command,
        "python": platform.python_version(),
    }
    if processes.is_main_process:
        write_atomically(folder / RECIPE, json.dumps(facts, indent=1) + "\n")
        shutil.rmtree(work)
    processes.wait_for_everyone()
    return facts
