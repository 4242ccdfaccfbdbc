"""Trains a family of denoisers: one model per depth and seed."""

import functools
import platform
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from stepimp.errors import Contradiction, StepimpError
from stepimp.models.checkpoints import load_checkpoint, read_config
from stepimp.models.denoiser import Denoiser
from stepimp.models.family import read_manifest, write_manifest
from stepimp.models.loading import load_tokenizer
from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.models.mdlm_config import MDLMConfig
from stepimp.models.tokenizers import save_tokenizer
from stepimp.processes import Processes
from stepimp.progress import Progress, no_progress, reporter
from stepimp.results import results_folder
from stepimp.text.blocks import Blocks, tokenizer_fingerprint
from stepimp.text.files import source_name
from stepimp.training.family_text import open_text, vocabulary_of
from stepimp.training.held_out import finished_part, snapshot_part
from stepimp.training.lock import locked
from stepimp.training.objective import MDLMTrainer, block_matrices, evaluate_nelbo, initialize
from stepimp.training.recipe import Recipe, members_to_train
from stepimp.training.speed import speed_up
from stepimp.training.trainer import (
    NOTE,
    check_enough,
    claim,
    finish,
    fit,
    join_processes,
    refuse_other,
    save,
    start_training,
    work_folder,
)


def member_seed(seed: int, blocks: int) -> int:
    """Seed for one member's random draws. Depths that share an initialisation and an order of the
    data would be more alike than seeds are.

    Measured: KL(12b || 8b) then was 0.015 nats below KL(12b || another seed), which hides what
    depth is worth.
    """
    return (seed + 1000 * blocks) % 2**32


@dataclass(frozen=True)
class Shared:
    """What all members of a family are trained with."""

    folder: Path
    """The family's."""
    data: str
    """Name of the text."""
    tokenizer: PreTrainedTokenizerBase
    blocks: Blocks
    """The training text."""
    held_out: torch.Tensor
    """[M, L] tokens that finished members are measured on."""
    shape: dict
    """MDLMConfig arguments, all but the number of blocks."""
    recipe: Recipe
    teacher: Denoiser | None
    """As for `nelbo_loss`."""

    @property
    def origin(self) -> dict:
        """What identifies the text and the teacher."""
        teacher = self.teacher.fingerprint if self.teacher else None
        return {"data": self.blocks.fingerprint, "teacher": teacher}


def train_member(
    shared: Shared, name: str, blocks: int, seed: int, callbacks, progress: Progress
) -> float:
    """Trains one model and writes it as a Hugging Face folder. Resumes from the newest checkpoint
    in its work folder.

    progress: of the finished model's measurement. Returns the held-out NELBO in nats per token.
    """
    folder, shape, recipe = shared.folder / name, shared.shape | {"n_blocks": blocks}, shared.recipe
    claim(work_folder(folder), {"shape": shape, "seed": seed, **shared.origin}, recipe)
    seed = member_seed(seed, blocks)
    start_training(seed)
    model = new_member(MDLMConfig(**shape), recipe)
    final = fit(
        model,
        functools.partial(MDLMTrainer, teacher=shared.teacher),
        block_matrices(model),
        folder,
        shared.blocks.tokens,
        recipe,
        seed,
        shared.tokenizer,
        functools.partial(evaluate_nelbo, tokens=snapshot_part(shared.held_out)),
        callbacks,
    )
    nelbo = evaluate_nelbo(final, shared.held_out, processes=Processes(), progress=progress)
    save(final, shared.tokenizer, folder, nelbo, recipe.weights)
    return nelbo


def new_member(config: MDLMConfig, recipe: Recipe) -> MDLMForMaskedLM:
    """A model before its first step, in the way that its blocks are trained in."""
    model = MDLMForMaskedLM(config)
    initialize(model)
    if recipe.compile:
        speed_up(model, recipe.bf16)
    return model


def load_teacher(path: str, tokenizer, shape: dict, device):
    """A denoiser for members of this shape to learn from.

    Raises StepimpError where it has another tokenizer or noise schedule, or reads only shorter
    texts.
    """
    teacher = load_checkpoint(path, str(device))
    same = tokenizer_fingerprint(load_tokenizer(path)) == tokenizer_fingerprint(tokenizer)
    if not same or (teacher.vocab_size, teacher.mask_id) != (
        shape["vocab_size"],
        shape["mask_token_id"],
    ):
        raise StepimpError(
            f"{path} has another tokenizer: train with its tokenizer, into a new folder."
        )
    if teacher.noise.name != shape["noise"]:
        raise StepimpError(
            f"{path} was trained for another noise schedule: choose {teacher.noise.name}."
        )
    if teacher.max_length < shape["model_length"]:
        raise StepimpError(f"{path} reads {teacher.max_length} tokens: choose a length up to that.")
    return teacher


def train_family(
    folder: Path,
    depths: list[int],
    seed: int,
    baseline_seed: int | None,
    shape: dict,
    recipe: Recipe,
    data: str,
    *,
    tokenizer_name: str | None = None,
    vocab_size: int | None = None,
    command: str = "",
    callbacks=(),
    teacher: str | None = None,
    column: str = "text",
    progress: Callable[[str, int, int], None] | bool = False,
):
    """Trains the missing members of a family in `folder`: one per depth, and the deepest again from
    `baseline_seed`.

    shape: arguments of `MDLMConfig` that all members share. data, column: as for `load_blocks`;
    data may be a file of `write_token_file`. vocab_size: of a BPE trained on the text. teacher: a
    checkpoint whose predictions the members learn in place of the text's tokens. Members in the
    manifest are left alone, unless a longer trapezoid extends them or their folder is gone; an
    unfinished one resumes from its last checkpoint; a further call may add depths. progress: called
    with a finished member's name, and the held-out sequences that it has been measured on and will
    be (`held_out.finished_part`); True for a bar of these. Yields (name, NELBO in nats). Raises
    StepimpError while another process trains into the folder, and Contradiction where a member that
    is there was trained in another way.
    """
    bar = no_progress if callable(progress) else reporter(progress)
    folder = results_folder(folder)
    processes = join_processes()
    with locked(folder, "train") if processes.is_main_process else nullcontext():
        with processes.main_process_first():  # the others find the tokenizer and the blocks it made
            shared = open_shared(
                folder, shape, recipe, data, tokenizer_name, vocab_size, teacher, column
            )
        training = {
            "recipe": recipe.as_dict(),
            "command": command,
            "data": source_name(shared.data),
            "column": column,
            "data_fingerprint": shared.origin["data"],
            "teacher": teacher,
            "teacher_fingerprint": shared.origin["teacher"],
            "python": platform.python_version(),
        }
        jobs = members_to_train(depths, seed, baseline_seed)
        # Of machines without a common folder, that of process 0 has the members.
        members, complete = Processes().from_first(lambda: trained(folder, list(jobs), recipe))
        for name, (blocks, member_seed) in jobs.items():
            if name in complete:
                if processes.is_main_process:
                    check_same(shared, name, members[name], blocks, member_seed)
                continue
            report = functools.partial(progress, name) if callable(progress) else bar
            nelbo = train_member(shared, name, blocks, member_seed, callbacks, report)
            work = work_folder(folder / name)
            if processes.is_main_process:
                facts = {
                    "blocks": blocks,
                    "seed": member_seed,
                    "heldout_nelbo_nats": nelbo,
                    "heldout_sequences": len(shared.held_out),
                    "fingerprint": load_checkpoint(str(folder / name), "cpu").fingerprint,
                }
                record_member(folder, name, facts | training)
                finish(work, recipe)
                yield name, nelbo
            processes.wait_for_everyone()
            if processes.is_local_main_process and work.exists():
                finish(work, recipe)  # what the Trainer has left on a machine of its own folder
    processes.destroy_process_group()  # threads that outlive it can abort a process as it ends


def open_shared(
    folder: Path,
    shape: dict,
    recipe: Recipe,
    data: str,
    tokenizer_name: str | None,
    vocab_size: int | None,
    teacher: str | None,
    column: str,
) -> Shared:
    """Opens text, tokenizer and teacher as `train_family` is given them, and writes the tokenizer
    into the family's folder, unless it is there.
    """
    processes = join_processes()
    data, tokenizer, blocks, held_out = open_text(
        folder, data, shape["model_length"], tokenizer_name, vocab_size, column
    )
    check_enough(blocks.tokens, recipe, processes.num_processes)
    shape = {**shape, **vocabulary_of(tokenizer)}
    tutor = load_teacher(teacher, tokenizer, shape, processes.device) if teacher else None
    if processes.is_main_process and not (folder / "tokenizer.json").exists():
        save_tokenizer(tokenizer, folder)
    measured = finished_part(held_out.tokens)
    return Shared(folder, data, tokenizer, blocks, measured, shape, recipe, tutor)


def record_member(folder: Path, name: str, facts: dict):
    """Adds a member to a family's manifest."""
    manifest = read_manifest(folder)
    manifest["members"][name] = facts
    write_manifest(folder, manifest)


def trained(folder: Path, names: list[str], recipe: Recipe) -> tuple[dict, list[str]]:
    """(members in a family's manifest, those of these names that need no training)."""
    members = read_manifest(folder)["members"]
    existing = [name for name in names if name in members and (folder / name).exists()]
    return members, [
        name
        for name in existing
        if not is_extended(members[name], recipe, work_folder(folder / name))
    ]


def is_extended(facts: dict, recipe: Recipe, work: Path) -> bool:
    """Whether a longer recipe extends a finished member, from what its own training kept."""
    return (work / NOTE).exists() and recipe.steps > facts["recipe"]["steps"]


def check_same(shared: Shared, name: str, facts: dict, blocks: int, seed: int):
    """Raises Contradiction where a finished member was trained in another way than is asked for.

    facts: what the manifest says of it; what an older manifest does not record is not compared.
    """
    folder, origin = shared.folder / name, shared.origin
    if "recipe" not in facts:
        raise Contradiction(
            f"{name} in {shared.folder} was added to the family, not trained there: choose "
            "another depth or train into a new folder."
        )
    shape = shared.shape | {"n_blocks": blocks}
    config = read_config(folder)
    recorded = {"seed": facts["seed"], "text": facts.get("data_fingerprint", origin["data"])}
    recorded["teacher"] = facts.get("teacher_fingerprint", origin["teacher"])
    asked = {"seed": seed, "text": origin["data"], "teacher": origin["teacher"]}
    recorded |= {key: config.get(key, value) for key, value in shape.items()}
    refuse_other(folder, recorded, asked | shape, facts["recipe"], shared.recipe)
