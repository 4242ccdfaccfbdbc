"""Trains a family of denoisers: one model per depth and seed."""

import functools
import platform
import shutil
from pathlib import Path

from stepimp.errors import StepimpError
from stepimp.models.checkpoints import load_checkpoint
from stepimp.models.family import read_manifest, write_manifest
from stepimp.models.loading import load_tokenizer, open_tokenizer
from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.models.mdlm_config import MDLMConfig
from stepimp.results import results_folder
from stepimp.text.blocks import load_blocks, tokenizer_fingerprint, train_tokenizer
from stepimp.training.objective import MDLMTrainer, block_matrices, evaluate_nelbo, initialize
from stepimp.training.trainer import claim, fit, join_processes, save, start_training, work_folder


def own_seed(seed: int, blocks: int) -> int:
    """Of a member's draws. Depths with one initialisation and order of the data would be more alike
    than seeds are.

    Measured: KL(12b || 8b) then was 0.015 nats below KL(12b || another seed), which hides what
    depth is worth."""
    return (seed + 1000 * blocks) % 2**32


def train_member(
    config: MDLMConfig,
    folder: Path,
    tokens,
    held_out,
    tokenizer,
    recipe: dict,
    seed: int,
    callbacks=(),
    teacher=None,
):
    """Trains one model and writes it as a Hugging Face folder. Resumes from the newest checkpoint
    in its work folder.

    recipe: as for `fit`, compile, and weights (the dtype to store); teacher: as for `nelbo_loss`.
    Returns the held-out NELBO in nats per token."""
    seed = own_seed(seed, config.n_blocks)
    start_training(seed)
    model = MDLMForMaskedLM(config)
    initialize(model)
    if recipe["compile"]:
        for block in model.backbone.blocks:  # one by one: they share what is compiled for the first
            block.compile(dynamic=False)
    trainer = functools.partial(MDLMTrainer, teacher=teacher)
    final = fit(model, trainer, block_matrices(model), folder, tokens, recipe, seed, callbacks)
    nelbo = evaluate_nelbo(final, held_out)
    save(final, tokenizer, folder, nelbo, recipe["weights"])
    return nelbo


def load_teacher(path: str, tokenizer, shape: dict, device):
    """A denoiser for members of this shape to learn from.

    Raises StepimpError where it has another tokenizer or noise schedule, or reads only shorter
    texts."""
    teacher = load_checkpoint(path, str(device))
    same = tokenizer_fingerprint(load_tokenizer(path)) == tokenizer_fingerprint(tokenizer)
    if not same or (teacher.vocab_size, teacher.mask_id) != (
        shape["vocab_size"],
        shape["mask_token_id"],
    ):
        raise StepimpError(
            f"{path} has another tokenizer: train with --tokenizer {path}, into a new folder."
        )
    if teacher.noise.name != shape["noise"]:
        raise StepimpError(
            f"{path} was trained for another noise schedule: choose --noise {teacher.noise.name}."
        )
    if teacher.max_length < shape["model_length"]:
        raise StepimpError(
            f"{path} reads {teacher.max_length} tokens: choose a --length up to that."
        )
    return teacher


def train_family(
    folder: Path,
    depths: list[int],
    seed: int,
    baseline_seed: int | None,
    shape: dict,
    recipe: dict,
    data: str,
    tokenizer_name: str | None = None,
    vocab_size: int = 512,
    command: str = "",
    callbacks=(),
    teacher: str | None = None,
):
    """Trains the missing members of a family in `folder`: one per depth, and the deepest again from
    `baseline_seed`.

    shape: MDLMConfig arguments shared by all members. teacher: a checkpoint whose predictions they
    learn in place of the text's tokens. Finished members stand in the manifest and are left alone,
    an unfinished one goes on from its last checkpoint, and a further call may add depths. Yields
    (name, NELBO in nats)."""
    folder = results_folder(folder)
    processes = join_processes()
    with processes.main_process_first():  # the others find the tokenizer and the blocks it made
        if (folder / "tokenizer.json").exists():
            tokenizer = open_tokenizer(str(folder))
        else:
            tokenizer = (
                open_tokenizer(tokenizer_name)
                if tokenizer_name
                else train_tokenizer(data, vocab_size)
            )
            tokenizer.save_pretrained(folder)
        length = shape["model_length"]
        blocks, held_out = (
            load_blocks(data, tokenizer, length, split) for split in ("train", "heldout")
        )
    mask = len(tokenizer) if tokenizer.mask_token_id is None else tokenizer.mask_token_id
    shape = {**shape, "vocab_size": max(len(tokenizer), mask + 1), "mask_token_id": mask}
    tutor = load_teacher(teacher, tokenizer, shape, processes.device) if teacher else None
    origin = {"data": blocks.fingerprint, "teacher": tutor.fingerprint if teacher else None}
    jobs = {f"{depth}b": (depth, seed) for depth in depths}
    if baseline_seed is not None:
        jobs[f"{max(depths)}b_seed{baseline_seed}"] = (max(depths), baseline_seed)
    for name, (depth, member_seed) in jobs.items():
        if name in read_manifest(folder)["members"]:
            continue
        config, work = MDLMConfig(n_blocks=depth, **shape), work_folder(folder / name)
        claim(
            work,
            {
                "shape": {**shape, "n_blocks": depth},
                "recipe": recipe,
                "seed": member_seed,
                **origin,
            },
        )
        nelbo = train_member(
            config,
            folder / name,
            blocks.tokens,
            held_out.tokens,
            tokenizer,
            recipe,
            member_seed,
            callbacks,
            tutor,
        )
        if processes.is_main_process:
            manifest = read_manifest(folder)
            manifest["members"][name] = {
                "blocks": depth,
                "seed": member_seed,
                "heldout_nelbo_nats": nelbo,
                "fingerprint": load_checkpoint(str(folder / name), "cpu").fingerprint,
                "recipe": recipe,
                "command": command,
                "data": data,
                "data_fingerprint": origin["data"],
                "teacher": teacher,
                "teacher_fingerprint": origin["teacher"],
                "python": platform.python_version(),
            }
            write_manifest(folder, manifest)
            shutil.rmtree(work)
            yield name, nelbo
        processes.wait_for_everyone()
    processes.destroy_process_group()  # threads that outlive it can abort a process as it ends
