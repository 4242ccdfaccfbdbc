"""The blocks of an MDLM as one C++ function (`stepimp.kernels.trunk`), for models whose shifts,
scales and gates are the same for all tokens and times.
"""

import math

import torch

from stepimp.kernels.native import FEW_THREADS
from stepimp.kernels.trunk import FrozenTrunk, compiled_trunk, trunk
from stepimp.models.mdlm_config import MDLMConfig

WIDEST = 256  # at width 512 torch's own products in bf16 are as fast


def runs_fused(config: MDLMConfig) -> bool:
    """Whether this machine has the blocks of such a model as one function, at its full length."""
    shape = (config.model_length, config.hidden_dim, config.n_heads)
    fits = config.hidden_dim <= WIDEST and not config.time_conditioning
    return fits and compiled_trunk(*shape) is not None


def fused(blocks, modulations, cos, sin, x):
    """What `MDLMForMaskedLM.hidden` does with its blocks, for training: [B, L, D] -> [B, L, D]."""
    matrices = zip(
        *((b.attn_qkv.weight, b.attn_out.weight, b.mlp[0].weight, b.mlp[2].weight) for b in blocks)
    )
    up_bias, down_bias = (torch.stack([b.mlp[n].bias for b in blocks]) for n in (0, 2))
    with torch.autocast(x.device.type, enabled=False):
        return trunk(
            x,
            matrices,
            up_bias,
            down_bias,
            shifts_gains_gates(blocks, modulations),
            *halves(cos, sin),
            blocks[0].config.n_heads,
        )


def frozen(blocks, modulations, cos, sin) -> FrozenTrunk | None:
    """The blocks for inference in bf16 on a CPU; None where they cannot be compiled or torch's
    operators are faster.
    """
    if torch.get_num_threads() > FEW_THREADS or not runs_fused(blocks[0].config):
        return None
    with torch.no_grad():
        return FrozenTrunk(*folded(blocks, modulations, cos, sin))


def shifts_gains_gates(blocks, modulations) -> tuple:
    """Shift, gain and gate of the attention, then of the MLP, each [N, D]."""
    shift1, scale1, gate1, shift2, scale2, gate2 = (
        torch.cat(parts).float() for parts in zip(*modulations)
    )
    gain1 = torch.stack([b.norm1.weight for b in blocks]) * (1 + scale1)
    gain2 = torch.stack([b.norm2.weight for b in blocks]) * (1 + scale2)
    return shift1, gain1, gate1, shift2, gain2, gate2


def halves(cos, sin) -> tuple[torch.Tensor, torch.Tensor]:
    """[L, d / 2] of rotary angles that come twice."""
    return cos.chunk(2, -1)[1], sin.chunk(2, -1)[1]


def folded(blocks, modulations, cos, sin) -> tuple:
    """The arguments of `FrozenTrunk`.

    Shift, scale and gate are the same for all tokens, so that they become part of the weights:
    (norm * gain + shift) W^T = norm (W gain)^T + W shift, and gate * (x W^T) = x (gate W)^T.
    """
    qkv, out, up, up_bias, down, down_bias = (
        torch.stack(parts).float()
        for parts in zip(
            *(
                (b.attn_qkv.weight, b.attn_out.weight, *b.mlp[0].parameters())
                + tuple(b.mlp[2].parameters())
                for b in blocks
            )
        )
    )
    shift1, gain1, gate1, shift2, gain2, gate2 = shifts_gains_gates(blocks, modulations)
    dim, heads = out.shape[-1], blocks[0].config.n_heads
    log2_scores = torch.ones(3 * dim, 1)
    log2_scores[:dim] = math.log2(math.e) * (dim // heads) ** -0.5
    qkv = qkv * log2_scores
    return (
        qkv * gain1[:, None],
        out * gate1[..., None],
        up * gain2[:, None],
        down * gate2[..., None],
        (qkv @ shift1[..., None]).squeeze(-1),
        up_bias + (up @ shift2[..., None]).squeeze(-1),
        down_bias * gate2,
        *halves(cos, sin),
        heads,
    )
