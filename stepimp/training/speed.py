"""The faster ways through a model's blocks that training can take."""

import torch

from stepimp.kernels.trunk import FEW_THREADS, compiled_trunk
from stepimp.models.fused import fused
from stepimp.models.mdlm import MDLMForMaskedLM


def speed_up(model: MDLMForMaskedLM, bf16: bool):
    """Gives a model its fastest blocks for training. Its parameters and what it computes stay the
    same, but for rounding.

    On a CPU in mixed precision the blocks run as one C++ function where `trunk.compiled_trunk`
    has one, without dropout or time conditioning. Otherwise torch.compile: on a GPU all blocks as
    one function, on a CPU one by one, since they then share what is compiled for the first.
    """
    config = model.config
    fixed = not config.dropout and not config.time_conditioning
    if torch.cuda.is_available():
        model.run_blocks = torch.compile(in_turn, dynamic=False)
    elif (
        bf16
        and fixed
        and torch.get_num_threads() <= FEW_THREADS
        and compiled_trunk(config.model_length, config.hidden_dim, config.n_heads)
    ):
        model.run_blocks = fused
    else:
        for block in model.backbone.blocks:
            block.compile(dynamic=False)


def in_turn(blocks, modulations, cos, sin, x):
    """What `MDLMForMaskedLM.hidden` does with its blocks, as one function."""
    for block, modulation in zip(blocks, modulations):
        x = block(x, modulation, cos, sin)
    return x
