"""The faster ways through a model's blocks that training can take."""

import math

import torch

from stepimp.kernels.trunk import compiled_trunk, trunk
from stepimp.models.mdlm import MDLMForMaskedLM

FEW_THREADS = 2  # with more, torch's own operators on all of them are faster than the trunk on one


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


def fused(blocks, modulations, cos, sin, x):
    """The same by `kernels.trunk`: [B, L, D] -> [B, L, D].

    Shift, scale and gate are the same for all tokens, so that they become part of the weights:
    (norm * gain + shift) W^T = norm (W gain)^T + W shift, and gate * (x W^T) = x (gate W)^T.
    """
    with torch.autocast(x.device.type, enabled=False):
        qkv, out, up, up_bias, down, down_bias = (
            torch.stack(parts)
            for parts in zip(
                *(
                    (b.attn_qkv.weight, b.attn_out.weight, *b.mlp[0].parameters())
                    + tuple(b.mlp[2].parameters())
                    for b in blocks
                )
            )
        )
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            torch.cat(parts).float() for parts in zip(*modulations)
        )
        gain1, gain2 = (
            torch.stack([norm.weight for norm in norms]) * (1 + scale)
            for norms, scale in (
                ([b.norm1 for b in blocks], scale1),
                ([b.norm2 for b in blocks], scale2),
            )
        )
        dim, heads = x.shape[-1], blocks[0].config.n_heads
        log2_scores = torch.ones(3 * dim, 1)
        log2_scores[:dim] = math.log2(math.e) * (dim // heads) ** -0.5
        qkv = qkv * log2_scores
        return trunk(
            x,
            qkv * gain1[:, None],
            out * gate1[..., None],
            up * gain2[:, None],
            down * gate2[..., None],
            (qkv @ shift1[..., None]).squeeze(-1),
            up_bias + (up @ shift2[..., None]).squeeze(-1),
            down_bias * gate2,
            cos.chunk(2, -1)[1],
            sin.chunk(2, -1)[1],
            heads,
        )
