"""The faster ways through a model's blocks that training can take."""

import torch

from stepimp.kernels.native import FEW_THREADS
from stepimp.models.fused import fused, runs_fused
from stepimp.models.mdlm import MDLMForMaskedLM


def speed_up(model: MDLMForMaskedLM, bf16: bool):
    """Gives a model its fastest blocks for training. Its parameters and what it computes stay the
    same, but for rounding.

    On a CPU in mixed precision the blocks run as one C++ function where there is one, without
    dropout or time conditioning. Otherwise torch.compile: on a GPU all blocks as one function, on a
    CPU one by one, since they then share what is compiled for the first.
    """
    if torch.cuda.is_available():
        model.run_blocks = torch.compile(in_turn, dynamic=False)
    elif (
        bf16
        and not model.config.dropout
        and torch.get_num_threads() <= FEW_THREADS
        and runs_fused(model.config)
    ):
        model.run_blocks = fused
    else:
        compile_blocks(model)


def compile_blocks(model: MDLMForMaskedLM):
    """Each block as a function of its own; they share what is compiled for the first."""
    for block in model.backbone.blocks:
        block.compile(dynamic=False)


def in_turn(blocks, modulations, cos, sin, x):
    """What `MDLMForMaskedLM.hidden` does with its blocks, as one function."""
    for block, modulation in zip(blocks, modulations):
        x = block(x, modulation, cos, sin)
    return x
