"""Weights sharded over several GPUs: accelerate's FSDP2, where each parameter is a DTensor."""

import logging
import os
from pathlib import Path

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy
from torch.distributed.tensor import DTensor, Replicate
from transformers import Trainer

from stepimp.errors import StepimpError
from stepimp.training.speed import compile_blocks

log = logging.getLogger(__name__)
CHECKPOINT = ("optimizer.bin", "pytorch_model_fsdp.bin")  # only in checkpoints of sharded trainings


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    """A sharded tensor as a whole, in every process; all of them must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def sharded_like(whole: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that every process holds as a whole, sharded like another one."""
    if not isinstance(tensor, DTensor):
        return whole
    mesh = tensor.device_mesh
    copies = DTensor.from_local(whole.to(tensor.device), mesh, [Replicate()] * mesh.ndim)
    return copies.redistribute(placements=tensor.placements)


def configure(trainer: Trainer):
    """Has a Trainer shard its weights, where accelerate is configured to, so that it takes the
    steps of unsharded weights.

    Raises StepimpError for the first version of FSDP.
    """
    if not trainer.is_fsdp_enabled:
        if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
            log.warning(
                "accelerate shards weights over several GPUs only: every process keeps all of them."
            )
        return
    plugin = trainer.accelerator.state.fsdp_plugin
    if plugin.fsdp_version != 2:
        raise StepimpError(
            "The first version of FSDP flattens the weights, and Muon needs them as matrices: "
            "choose version 2 (fsdp_version) in accelerate's configuration."
        )
    # Each class of `_no_split_modules` is gathered by itself.
    plugin.auto_wrap_policy = transformer_auto_wrap_policy
    plugin.transformer_cls_names_to_wrap = None
    # Whole files have checksums, and any number of processes can resume from them.
    plugin.state_dict_config = plugin.optim_state_dict_config = None
    plugin.set_state_dict_type("FULL_STATE_DICT")
    plugin.cpu_ram_efficient_loading = False  # fails on buffers
    # The policy would round the times and the loss to bf16 too; autocast rounds only products.
    plugin.mixed_precision_policy = MixedPrecisionPolicy()
    trainer.autocast_smart_context_manager = trainer.accelerator.autocast
    model = trainer.model
    if getattr(model, "run_blocks", None):  # which reads the weights of all blocks at once
        model.run_blocks = None
        compile_blocks(model)


def check_resumable(checkpoint: Path, trainer: Trainer):
    """Raises StepimpError where a checkpoint is of sharded weights and the training is not, or the
    other way round.
    """
    sharded = (checkpoint / CHECKPOINT[0]).exists()
    if sharded != trainer.is_fsdp_enabled:
        way = "with" if sharded else "without"
        raise StepimpError(
            f"{checkpoint.parent} was begun {way} sharded weights (FSDP): continue {way} them, or "
            "delete it to train from the start."
        )
