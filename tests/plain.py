"""A straightforward MDLM, from the published description and torch's own operators, to measure
speed against.
"""

import torch
import torch.nn.functional as F


class PlainDenoiser:
    """The weights of an MDLM behind the `Denoiser` protocol, with nothing folded, fused or left
    out.
    """

    def __init__(self, model):
        self.model, self.dtype = model, model.dtype
        self.weights = {
            name.removeprefix("backbone."): value for name, value in model.state_dict().items()
        }
        self.heads, self.blocks = model.config.n_heads, model.blocks
        self.mask_id, self.max_length, self.vocab_size = (
            model.mask_id,
            model.max_length,
            model.vocab_size,
        )
        self.noise, self.time_conditioned = model.noise, False

    def linear(self, x, name):
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def norm(self, x, name, shift, scale):
        normed = (
            F.layer_norm(x.float(), x.shape[-1:], eps=1e-5) * self.weights[f"{name}.weight"].float()
        )
        return normed.to(self.dtype) * (1 + scale) + shift

    def condition(self):
        """[1, cond_dim] of noise level 0, as checkpoints without time conditioning have it."""
        frequencies = torch.exp(-torch.arange(128) / 128 * torch.log(torch.tensor(10000.0)))
        features = torch.cat([torch.cos(0 * frequencies), torch.sin(0 * frequencies)])[None].to(
            self.dtype
        )
        return F.silu(
            self.linear(F.silu(self.linear(features, "sigma_map.mlp.0")), "sigma_map.mlp.2")
        )

    def block(self, x, n, c, cos, sin):
        name, (batch, length, _) = f"blocks.{n}", x.shape
        shift1, scale1, gate1, shift2, scale2, gate2 = self.linear(c, f"{name}.adaLN_modulation")[
            :, None
        ].chunk(6, -1)
        qkv = self.linear(self.norm(x, f"{name}.norm1", shift1, scale1), f"{name}.attn_qkv")
        q, k, v = qkv.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(rotated(q, cos, sin), rotated(k, cos, sin), v)
        x = x + gate1 * self.linear(out.transpose(1, 2).reshape(x.shape), f"{name}.attn_out")
        inner = F.gelu(
            self.linear(self.norm(x, f"{name}.norm2", shift2, scale2), f"{name}.mlp.0"),
            approximate="tanh",
        )
        return x + gate2 * self.linear(inner, f"{name}.mlp.2")

    def hidden(self, z, t=None, at=None):
        """[B, L] -> [B, L, D], whatever positions are asked about."""
        x, c = F.embedding(z, self.weights["vocab_embed.embedding"]), self.condition()
        angles = torch.outer(
            torch.arange(z.shape[1]).float(), self.weights["rotary_emb.inv_freq"].float()
        )
        cos, sin = (
            torch.cat((part, part), -1).to(self.dtype) for part in (angles.cos(), angles.sin())
        )
        for n in range(self.blocks):
            x = self.block(x, n, c, cos, sin)
        shift, scale = self.linear(c, "output_layer.adaLN_modulation")[:, None].chunk(2, -1)
        return self.norm(x, "output_layer.norm_final", shift, scale)

    def logits(self, rows):
        """[..., D] -> [..., V], minus infinity at the mask token."""
        weight, bias = self.head()
        logits = F.linear(rows.to(weight.dtype), weight, bias)
        logits[..., self.mask_id] = -torch.inf
        return logits

    def head(self):
        return self.weights["output_layer.linear.weight"], self.weights["output_layer.linear.bias"]


def rotated(x, cos, sin):
    """Rotary embedding in the rotate-half layout. x: [..., L, d]; cos, sin: [L, d]."""
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin
