"""The MDLM denoiser: a diffusion Transformer (DiT) over tokens, in the public checkpoint layout.

Sahoo et al., "Simple and Effective Masked Diffusion Language Models" (arXiv 2406.07524); parameter
names and shapes are those of kuleshov-group/mdlm-owt."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from stepimp.errors import StepimpError
from stepimp.kernels.choice import installed
from stepimp.kernels.linear import linear, pack, project
from stepimp.models.cuda_graphs import InFewShapes, compiled
from stepimp.noise import NoiseSchedule

FREQUENCIES = 256  # sinusoidal features of the noise level
ROPE_BASE = 10000.0
LAYER_NORM_EPS = 1e-5


class MDLMConfig(PreTrainedConfig):
    """Shape of an MDLM. The mask token is the last of the vocabulary unless `mask_token_id` says
    otherwise.
    """

    model_type = "mdlm"
    attribute_map = {
        "hidden_size": "hidden_dim",
        "num_hidden_layers": "n_blocks",
        "num_attention_heads": "n_heads",
        "max_position_embeddings": "model_length",
    }

    def __init__(
        self,
        vocab_size: int = 50258,
        model_length: int = 1024,
        hidden_dim: int = 768,
        cond_dim: int = 128,
        n_blocks: int = 12,
        n_heads: int = 12,
        dropout: float = 0.1,
        time_conditioning: bool = False,
        noise: str = "loglinear",
        mask_token_id: int | None = None,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.model_length = model_length
        self.hidden_dim = hidden_dim
        self.cond_dim = cond_dim
        self.n_blocks = n_blocks
        self.n_heads = n_heads
        self.dropout = dropout
        self.time_conditioning = time_conditioning
        self.noise = noise
        self.mask_token_id = vocab_size - 1 if mask_token_id is None else mask_token_id
        super().__init__(**{"tie_word_embeddings": False, **kwargs})


def rope_frequencies(head_dim: int) -> torch.Tensor:
    """[head_dim / 2] angular frequencies of the rotary embedding."""
    return ROPE_BASE ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding in the rotate-half layout. x: [..., d]; cos, sin: what `Rotary` returns, for
    x's positions.
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


class Block(nn.Module):
    """Attention and MLP, each behind a modulated norm and a gate; the attention module that
    transformers dispatches on.
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
        self.adaLN_modulation = nn.Linear(config.cond_dim, 6 * dim)
        self._packed = None

    def weights(self) -> dict[str, torch.Tensor]:
        """Of the dense layers: queries, keys and values together and apart, attention's output, the
        MLP up and down.
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
    def __init__(self, config: MDLMConfig):
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.hidden_dim))


class TimestepEmbedder(nn.Module):
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
    def __init__(self, config: MDLMConfig):
        super().__init__()
        self.norm_final = Norm(config.hidden_dim)
        self.linear = nn.Linear(config.hidden_dim, config.vocab_size)
        self.adaLN_modulation = nn.Linear(config.cond_dim, 2 * config.hidden_dim)


class Backbone(nn.Module):
    def __init__(self, config: MDLMConfig):
        super().__init__()
        self.vocab_embed = Embedding(config)
        self.sigma_map = TimestepEmbedder(config)
        self.rotary_emb = Rotary(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_blocks))
        self.output_layer = OutputLayer(config)


class MDLMForMaskedLM(PreTrainedModel):
    """p_theta(x | z_t, t) in the SUBS parameterisation: the mask token has probability 0.

    `hidden` runs the body and `logits` the vocabulary projection, so that the projection is paid
    only for the rows asked about. Follows the protocol `stepimp.models.denoiser.Denoiser`."""

    config_class = MDLMConfig
    base_model_prefix = "backbone"
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["Block"]

    def __init__(self, config: MDLMConfig):
        super().__init__(config)
        if config.hidden_dim % (2 * config.n_heads):
            raise StepimpError(
                f"hidden_dim {config.hidden_dim} must be a multiple of 2 * n_heads ({config.n_heads})."
            )
        if not 0 <= config.mask_token_id < config.vocab_size:
            raise StepimpError(
                f"mask_token_id {config.mask_token_id} is not in the vocabulary of {config.vocab_size}."
            )
        self.backbone = Backbone(config)
        self.noise = NoiseSchedule(config.noise)
        self._constant = self._angles = self.replayed = None
        self.post_init()

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    @property
    def mask_id(self) -> int:
        return self.config.mask_token_id

    @property
    def max_length(self) -> int:
        return self.config.model_length

    @property
    def blocks(self) -> int:
        return self.config.n_blocks

    @property
    def time_conditioned(self) -> bool:
        return self.config.time_conditioning

    @torch.no_grad()
    def _init_weights(self, module):
        """Linear layers keep torch's initialisation.

        DiT's zero modulation and vocabulary projection were measured 0.3 to 0.45 nats behind after
        300 steps of `stepimp train`. transformers calls this only for modules with parameters of
        their own."""
        if isinstance(module, Embedding):
            nn.init.normal_(module.embedding, std=0.02)
        elif isinstance(module, Norm):
            nn.init.ones_(module.weight)
        elif isinstance(module, Rotary):
            module.inv_freq.copy_(rope_frequencies(module.head_dim))

    def modulations(self, t: torch.Tensor | None):
        """Shift, scale and gate vectors per block, then the output layer's: [1, D] or, if
        time-conditioned, [B, D].
        """
        device = self.backbone.vocab_embed.embedding.device
        if self.config.time_conditioning:
            if t is None:
                raise ValueError("a time-conditioned denoiser needs t, [B]")
            alpha = self.noise.alpha(t.to(device, torch.float32))
            sigma = -torch.log(
                alpha.clamp_min(1e-3)
            )  # MDLM's own cap; the linear alpha reaches 0 at t = 1
        else:
            sigma = torch.zeros(1, device=device)
        c = self.backbone.sigma_map(sigma)
        blocks = [block.adaLN_modulation(c).chunk(6, dim=-1) for block in self.backbone.blocks]
        return blocks, self.backbone.output_layer.adaLN_modulation(c).chunk(2, dim=-1)

    def freeze(self) -> "MDLMForMaskedLM":
        """For inference: no dropout, no gradients, constants folded. Weights must not change or
        move afterwards.

        bf16 logits would cost about 8e-3 nats of KL per token. On a CPU the vocabulary projection
        goes to fp32 or wider; a GPU multiplies bf16 into fp32 and needs no wider weights. There
        `replayed` is `hidden` for the sampler's batches, compiled in few shapes; elsewhere, and
        without Triton, it is None."""
        self.eval().requires_grad_(False)
        embedding = self.backbone.vocab_embed.embedding
        self._constant = None if self.config.time_conditioning else self.modulations(None)
        *blocks, last = self.backbone.blocks
        for block in blocks:
            block.pack("qkv", "out", "up", "down")
        last.pack("q", "kv", "out", "up", "down")
        self._angles = self.backbone.rotary_emb(self.max_length, embedding)
        if not embedding.is_cuda:
            self.backbone.output_layer.linear.to(torch.promote_types(self.dtype, torch.float32))
        elif installed():
            self.replayed = InFewShapes(
                compiled(self.hidden, tree_leaves((self._constant or (), self._angles))),
                eager=self.hidden,
            )
        return self

    def hidden(self, z, t=None, at=None) -> torch.Tensor:
        """What the vocabulary projection takes. z: [B, L] token ids; t: [B] times in [0, 1];
        returns [B, L, D].

        With at, [B, n] positions: [B, n, D], the same rows for less work, since the last block then
        runs its queries and its MLP at those positions only."""
        blocks, (shift, scale) = self._constant or self.modulations(t)
        x = F.embedding(z, self.backbone.vocab_embed.embedding)
        angles = self._angles or self.backbone.rotary_emb(z.shape[1], x)
        cos, sin = (one[: z.shape[1]] for one in angles)
        last = len(blocks) - 1
        for i, (block, modulation) in enumerate(zip(self.backbone.blocks, blocks)):
            x = block(x, modulation, cos, sin, at if i == last else None)
        return modulated_norm(x, self.backbone.output_layer.norm_final.weight, shift, scale)

    def head(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [V, D] and bias [V] of the vocabulary projection."""
        linear = self.backbone.output_layer.linear
        return linear.weight, linear.bias

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """[n, D] rows of `hidden` -> [n, V] logits in fp32 or wider, minus infinity at the mask
        token.
        """
        return project(rows, self.head(), self.mask_id)

    def flops(self, length: int) -> tuple[float, float]:
        """FLOPs of `hidden` on one sequence apart from the rows asked about, and of each such row
        with its logits.

        A multiply-add counts as two. The last block computes keys and values everywhere, all else
        at the rows only."""
        dim = self.config.hidden_dim
        row = (
            2 * 10 * dim**2 + 4 * length * dim
        )  # query, output and MLP; scores and weighted values
        keys_values = 2 * 2 * dim**2
        last = length * keys_values
        return (self.blocks - 1) * length * (
            row + keys_values
        ) + last, row + 2.0 * dim * self.vocab_size

    def forward(
        self,
        input_ids,
        timesteps=None,
        labels=None,
        label_weights=None,
        label_probabilities=None,
        **_,
    ) -> MaskedLMOutput:
        """input_ids, labels, label_weights: [B, L]; labels are -100 where there is none; timesteps:
        [B].

        label_probabilities: [n, V] distributions in place of the n labels.

        Without labels: logits [B, L, V]. With labels: loss = sum of weight * cross-entropy over the
        labelled positions / (B L); the projection runs at those positions alone, and logits are
        None."""
        hidden = self.hidden(input_ids, timesteps)
        if labels is None:
            return MaskedLMOutput(logits=self.logits(hidden))
        asked = labels != -100
        logits = self.logits(hidden[asked])
        if label_probabilities is None:
            losses = F.cross_entropy(logits, labels[asked], reduction="none")
        else:  # which are 0 at the mask token, where the logarithm is not finite
            logs = logits.log_softmax(-1).clamp_min(torch.finfo(logits.dtype).min)
            losses = -(label_probabilities * logs).sum(-1)
        if label_weights is not None:
            losses = losses * label_weights[asked]
        return MaskedLMOutput(loss=losses.sum() / labels.numel())


AutoConfig.register("mdlm", MDLMConfig)
AutoModelForMaskedLM.register(MDLMConfig, MDLMForMaskedLM)
