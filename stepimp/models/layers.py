"""The layers of an MDLM: modulated blocks with bidirectional attention, and both ends of the model.

Module names are those of kuleshov-group/mdlm-owt, since they are the checkpoint's keys.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from stepimp.kernels.linear import linear, pack
from stepimp.models.mdlm_config import MDLMConfig

FREQUENCIES = 256  # sinusoidal features of the noise level
ROPE_BASE = 10000.0
LAYER_NORM_EPS = 1e-5


def rope_frequencies(head_dim: int) -> torch.Tensor:
    """[head_dim / 2] angular frequencies of the rotary embedding."""
    return ROPE_BASE ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding (arXiv 2104.09864) in the rotate-half layout.

    x: [..., d]; cos, sin: what `Rotary` returns, for x's positions.
    """
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def take(x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """x: [B, L, D], at: [B, n] positions -> [B, n, D]."""
    return x.gather(1, at[..., None].expand(-1, -1, x.shape[-1]))


def modulated_norm(
    x: torch.Tensor, weight: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """LayerNorm(x) * weight * (1 + scale) + shift in fp32. shift, scale: [1, D] (one for all) or
    [B, D].
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    if shift.shape[0] == 1:
        gain = weight.to(wide) * (1 + scale[0].to(wide))
        return F.layer_norm(x.to(wide), x.shape[-1:], gain, shift[0].to(wide), LAYER_NORM_EPS).to(
            x.dtype
        )
    normed = F.layer_norm(x.to(wide), x.shape[-1:], weight.to(wide), None, LAYER_NORM_EPS)
    return (normed * (1 + scale[:, None].to(wide)) + shift[:, None].to(wide)).to(x.dtype)


def eager_attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **_):
    """softmax(q k^T) v in the signature of transformers' attention interface. query: [B, H, L,
    d].
    """
    scores = query @ key.transpose(-1, -2) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    probabilities = F.dropout(scores.softmax(-1), dropout)
    return (probabilities @ value).transpose(1, 2), probabilities


class Norm(nn.Module):
    """Holds a LayerNorm's weight; `modulated_norm` applies it."""

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))


class Modulation(nn.Linear):
    """Shift, scale and gate vectors of a block. It runs before the block does: where weights are
    sharded, it is gathered by itself.
    """


class Block(nn.Module):
    """Attention and MLP, each behind a modulated norm and a gate (adaLN of DiT, arXiv 2212.09748);
    the attention module that transformers dispatches on.
    """

    is_causal = False

    def __init__(self, config: MDLMConfig):
        super().__init__()
        dim = config.hidden_dim
        self.config = config
        self.norm1 = Norm(dim)
        self.attn_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.attn_out = nn.Linear(dim, dim, bias=False)
        self.norm2 = Norm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim)
        )
        self.adaLN_modulation = Modulation(config.cond_dim, 6 * dim)
        self._packed: dict[str, torch.Tensor] | None = None

    def weights(self) -> dict[str, torch.Tensor]:
        """Weights of the dense layers: queries, keys and values together and apart, attention's
        output, the MLP up and down.
        """
        if self._packed:
            return self._packed
        qkv, dim = self.attn_qkv.weight, self.config.hidden_dim
        apart = {"q": qkv[:dim], "kv": qkv[dim:]}
        return {
            "qkv": qkv,
            **apart,
            "out": self.attn_out.weight,
            "up": self.mlp[0].weight,
            "down": self.mlp[2].weight,
        }

    def pack(self, *names: str):
        """Copies these of `weights` to the layout that products are fastest with; they must not
        change afterwards.
        """
        weights = self.weights()
        self._packed = weights | {name: pack(weights[name]) for name in names}

    def __getstate__(self):
        return super().__getstate__() | {"_packed": None}  # torch cannot copy that layout

    def attention(self, x, cos, sin, at=None):
        """Bidirectional attention; with `at`, keys and values everywhere but queries at those
        positions only.
        """
        batch, length, dim = x.shape
        heads, weights = self.config.n_heads, self.weights()
        if at is None:
            qkv = linear(x, weights["qkv"]).view(batch, length, 3, heads, -1)
            q, k = rotate(qkv[:, :, :2], cos[:, None, None], sin[:, None, None]).unbind(2)
            v = qkv[:, :, 2]
        else:
            k, v = linear(x, weights["kv"]).view(batch, length, 2, heads, -1).unbind(2)
            k = rotate(k, cos[:, None], sin[:, None])
            q = linear(take(x, at), weights["q"]).view(batch, -1, heads, dim // heads)
            q = rotate(q, cos[at][:, :, None], sin[at][:, :, None])
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention
        )
        out, _ = attend(
            self, q, k, v, None, scaling=(dim // heads) ** -0.5, dropout=0.0, is_causal=False
        )
        return linear(out.reshape(batch, -1, dim), weights["out"])

    def forward(self, x, modulation, cos, sin, at=None):
        """x: [B, L, D] -> [B, L, D], with `at`, [B, n] positions: [B, n, D]. modulation: shift,
        scale and gate of the attention, then of the MLP, [1, D] or [B, D] each.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation
        drop = self.config.dropout if self.training else 0.0
        y = self.attention(modulated_norm(x, self.norm1.weight, shift1, scale1), cos, sin, at)
        x = x if at is None else take(x, at)
        x = torch.addcmul(x, gate1[:, None], F.dropout(y, drop))
        y = modulated_norm(x, self.norm2.weight, shift2, scale2)
        weights, (up, _, down) = self.weights(), self.mlp
        y = linear(linear(y, weights["up"], up.bias, gelu=True), weights["down"], down.bias)
        return torch.addcmul(x, gate2[:, None], F.dropout(y, drop))


class Embedding(nn.Module):
    """The token embedding."""

    def __init__(self, config: MDLMConfig):
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.hidden_dim))

    def forward(self, z):
        """z: [B, L] token ids -> [B, L, D]."""
        return F.embedding(z, self.embedding)


class TimestepEmbedder(nn.Module):
    """Sinusoidal features of the noise level, then an MLP."""

    def __init__(self, config: MDLMConfig):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(FREQUENCIES, config.cond_dim),
            nn.SiLU(),
            nn.Linear(config.cond_dim, config.cond_dim),
        )

    def forward(self, sigma):
        """sigma: [B] noise levels -> [B, cond_dim]."""
        half = FREQUENCIES // 2
        frequencies = torch.exp(
            -math.log(10000) / half * torch.arange(half, device=sigma.device, dtype=sigma.dtype)
        )
        angles = sigma[:, None] * frequencies
        return F.silu(
            self.mlp(torch.cat((angles.cos(), angles.sin()), -1).to(self.mlp[0].weight.dtype))
        )


class Rotary(nn.Module):
    """Keeps `inv_freq` in the state dict, as the public layout does; the angles are computed in
    float64.
    """

    def __init__(self, config: MDLMConfig):
        super().__init__()
        self.head_dim = config.hidden_dim // config.n_heads
        self.register_buffer("inv_freq", rope_frequencies(self.head_dim).float())

    def forward(self, length: int, like: torch.Tensor):
        """cos and sin, [L, d] each: every angle twice, the first half of the sines negative."""
        positions = torch.arange(length, device=like.device, dtype=torch.float64)
        angles = positions[:, None] * rope_frequencies(self.head_dim).to(like.device)
        cos, sin = angles.cos().to(like.dtype), angles.sin().to(like.dtype)
        return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)


class OutputLayer(nn.Module):
    """The final norm and the vocabulary projection."""

    def __init__(self, config: MDLMConfig):
        super().__init__()
        self.norm_final = Norm(config.hidden_dim)
        self.linear = nn.Linear(config.hidden_dim, config.vocab_size)
        self.adaLN_modulation = nn.Linear(config.cond_dim, 2 * config.hidden_dim)


class Backbone(nn.Module):
    """All parameters of an MDLM; `MDLMForMaskedLM` runs them."""

    def __init__(self, config: MDLMConfig):
        super().__init__()
        self.vocab_embed = Embedding(config)
        self.sigma_map = TimestepEmbedder(config)
        self.rotary_emb = Rotary(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_blocks))
        self.output_layer = OutputLayer(config)
