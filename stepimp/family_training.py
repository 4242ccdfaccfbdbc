"""Trains a family of denoisers: the objective, and one model per depth and seed."""

import functools
import platform
import shutil
from pathlib import Path

import torch
from transformers import Trainer

from stepimp.data import load_blocks, tokenizer_fingerprint, train_tokenizer
from stepimp.denoisers import load_checkpoint
from stepimp.errors import StepimpError
from stepimp.family import load_tokenizer, open_tokenizer, read_manifest, write_manifest
from stepimp.mdlm import MDLMConfig, MDLMForMaskedLM
from stepimp.noise import corrupt
from stepimp.results import results_folder
from stepimp.training import claim, fit, join_processes, save, start_training, work_folder

MIN_T = 1e-3  # the weight 1/t has no upper bound


def low_discrepancy_times(n: int, device) -> torch.Tensor:
    """n times in (MIN_T, 1], one in each of n equal intervals, all shifted by one uniform draw. Returns [n]."""
    u = torch.rand(1, device=device)
    return MIN_T + (1 - MIN_T) * (1 - (u + torch.arange(n, device=device) / n) % 1)


def nelbo_loss(model: MDLMForMaskedLM, x, t, uniforms, call=None, teacher=None) -> torch.Tensor:
    """Formula (2): mean over the batch of (1/t) sum over masked positions of -log p(x_l | z_t), per token.

    x, uniforms: [B, L]; t: [B]. call: what to run in the model's place, its wrapper under several processes. teacher:
    a denoiser whose predictions at z_t take the place of the tokens x_l. Returns a scalar in nats per token.
    """
    call = model if call is None else call
    noise, mask_id = model.noise, model.mask_id
    z = corrupt(x, uniforms, t[:, None], mask_id, noise)
    weights = noise.nelbo_weight(t)[:, None].expand(x.shape)
    labels = dict(labels=x.masked_fill(z != mask_id, -100), label_weights=weights)
    if teacher:
        labels["label_probabilities"] = predictions(teacher, z, t)
    return call(z, timesteps=t, **labels).loss


@torch.no_grad()
def predictions(denoiser, z, t) -> torch.Tensor:
    """[n, V] probabilities of the tokens at the n masked positions of z [B, L]. t: [B]."""
    return denoiser.logits(denoiser.hidden(z, t)[z == denoiser.mask_id]).softmax(-1)


@torch.no_grad()
def initialize(model: MDLMForMaskedLM):
    """Starts each block as the identity, by zero output matrices behind open gates, not by DiT's zero gates.

    Muon moves every block's output by about as much per step, whatever the depth: embeddings of unit variance and gates
    that shrink with the depth keep that small beside the residual stream, so that deep members start as fast.
    """
    torch.nn.init.normal_(model.backbone.vocab_embed.embedding)
    for block in model.backbone.blocks:
        block.adaLN_modulation.bias.view(6, model.config.hidden_dim)[[2, 5]] = 4 / model.blocks
        block.attn_out.weight.zero_()
        block.mlp[2].weight.zero_()


def block_matrices(model: MDLMForMaskedLM) -> list[torch.nn.Parameter]:
    """The weights of attention and MLP in all blocks, what Muon is for."""
    return [p for name, p in model.named_parameters() if p.ndim == 2 and ".blocks." in name and "adaLN" not in name]


class MDLMTrainer(Trainer):
    """The weighted objective; the random draws come from the Trainer's seeded generators, so a resume repeats them."""

    def __init__(self, *args, teacher=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.teacher = teacher

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        x = inputs["input_ids"]
        t = low_discrepancy_times(len(x), x.device)
        bare = self.accelerator.unwrap_model(model)
        loss = nelbo_loss(bare, x, t, torch.rand(x.shape, device=x.device), model, self.teacher)
        return (loss, {}) if return_outputs else loss


@torch.no_grad()
def evaluate_nelbo(model: MDLMForMaskedLM, tokens: torch.Tensor, batch_size: int = 32) -> float:
    """NELBO per token in nats on [N, L] blocks: one time per sequence, stratified over (0, 1]."""
    generator = torch.Generator().manual_seed(0)
    times = (torch.arange(len(tokens)) + 0.5) / len(tokens)
    times = times[torch.randperm(len(tokens), generator=generator)]
    uniforms = torch.rand(tokens.shape, generator=generator)
    total = 0.0
    for rows in torch.arange(len(tokens)).split(batch_size):
        batch = (part[rows].to(model.device) for part in (tokens, times, uniforms))
        total += nelbo_loss(model, *batch).item() * len(rows)
    return total / len(tokens)


def own_seed(seed: int, blocks: int) -> int:
    """Of a member's draws. Depths with one initialisation and order of the data would be more alike than seeds are.

    Measured: KL(12b || 8b) then was 0.015 nats below KL(12b || another seed), which hides what depth is worth.
    """
    return (seed + 1000 * blocks) % 2**32


def train_member(config: MDLMConfig, folder: Path, tokens, held_out, tokenizer, recipe: dict, seed: int, callbacks=(),
                 teacher=None):  # fmt: skip
    """Trains one model and writes it as a Hugging Face folder. Resumes from the newest checkpoint in its work folder.

    recipe: as for `fit`, compile, and weights (the dtype to store); teacher: as for `nelbo_loss`. Returns the held-out
    NELBO in nats per token.
    """
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

    Raises StepimpError where it has another tokenizer or noise schedule, or reads only shorter texts.
    """
    teacher = load_checkpoint(path, str(device))
    same = tokenizer_fingerprint(load_tokenizer(path)) == tokenizer_fingerprint(tokenizer)
    if not same or (teacher.vocab_size, teacher.mask_id) != (shape["vocab_size"], shape["mask_token_id"]):
        raise StepimpError(f"{path} has another tokenizer: train with --tokenizer {path}, into a new folder.")
    if teacher.noise.name != shape["noise"]:
        raise StepimpError(f"{path} was trained for another noise schedule: choose --noise {teacher.noise.name}.")
    if teacher.max_length < shape["model_length"]:
        raise StepimpError(f"{path} reads {teacher.max_length} tokens: choose a --length up to that.")
    return teacher


def train_family(
    folder: Path, depths: list[int], seed: int, baseline_seed: int | None, shape: dict, recipe: dict, data: str,
    tokenizer_name: str | None = None, vocab_size: int = 512, command: str = "", callbacks=(),
    teacher: str | None = None,
):  # fmt: skip
    """Trains the missing members of a family in `folder`: one per depth, and the deepest again from `baseline_seed`.

    shape: MDLMConfig arguments shared by all members. teacher: a checkpoint whose predictions they learn in place of
    the text's tokens. Finished members stand in the manifest and are left alone, an unfinished one goes on from its
    last checkpoint, and a further call may add depths. Yields (name, NELBO in nats).
    """
    folder = results_folder(folder)
    processes = join_processes()
    with processes.main_process_first():  # the others find the tokenizer and the blocks it made
        if (folder / "tokenizer.json").exists():
            tokenizer = open_tokenizer(str(folder))
        else:
            tokenizer = open_tokenizer(tokenizer_name) if tokenizer_name else train_tokenizer(data, vocab_size)
            tokenizer.save_pretrained(folder)
        length = shape["model_length"]
        blocks, held_out = (load_blocks(data, tokenizer, length, split) for split in ("train", "heldout"))
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
        claim(work, {"shape": {**shape, "n_blocks": depth}, "recipe": recipe, "seed": member_seed, **origin})
        nelbo = train_member(
            config, folder / name, blocks.tokens, held_out.tokens, tokenizer, recipe, member_seed, callbacks, tutor
        )
        if processes.is_main_process:
            manifest = read_manifest(folder)
            manifest["members"][name] = {
                "blocks": depth, "seed": member_seed, "heldout_nelbo_nats": nelbo, "recipe": recipe, "command": command,
                "data": data, "data_fingerprint": origin["data"], "teacher": teacher,
                "teacher_fingerprint": origin["teacher"], "python": platform.python_version(),
            }  # fmt: skip
            write_manifest(folder, manifest)
            shutil.rmtree(work)
            yield name, nelbo
        processes.wait_for_everyone()
    processes.destroy_process_group()  # threads that outlive it can abort a process as it ends
