"""The MDLM denoiser: a diffusion Transformer (DiT) over tokens, in the public checkpoint layout.

Sahoo et al., "Simple and Effective Masked Diffusion Language Models" (arXiv 2406.07524); parameter
names and shapes are those of kuleshov-group/mdlm-owt.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput

from stepimp.errors import StepimpError
from stepimp.kernels.choice import installed
from stepimp.kernels.linear import project
from stepimp.kernels.trunk import FrozenTrunk
from stepimp.models.cuda_graphs import InFewShapes, compiled
from stepimp.models.denoiser import check_inputs
from stepimp.models.fused import frozen
from stepimp.models.layers import (
    Backbone,
    Embedding,
    Norm,
    Rotary,
    modulated_norm,
    rope_frequencies,
    take,
)
from stepimp.models.mdlm_config import MDLMConfig
from stepimp.noise import NoiseSchedule


class MDLMForMaskedLM(PreTrainedModel):
    """p_theta(x | z_t, t) in the SUBS parameterisation: the mask token has probability 0.

    `hidden` runs the body and `logits` the vocabulary projection, so that the projection is paid
    only for the rows asked about. Follows the protocol `stepimp.models.denoiser.Denoiser`.
    """

    config_class = MDLMConfig
    base_model_prefix = "backbone"
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["Block", "Modulation"]
    # Fields of the protocol that this layout does not need.
    special_ids: frozenset[int] = frozenset()
    frame: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    shift, trained_masking = 0, 1.0

    def __init__(self, config: MDLMConfig):
        super().__init__(config)
        if config.hidden_dim % (2 * config.n_heads):
            raise StepimpError(
                f"hidden_dim {config.hidden_dim} must be a multiple of "
                f"2 * n_heads ({config.n_heads})."
            )
        if not 0 <= config.mask_token_id < config.vocab_size:
            raise StepimpError(
                f"mask_token_id {config.mask_token_id} is not in the vocabulary "
                f"of {config.vocab_size}."
            )
        self.backbone = Backbone(config)
        self.noise = NoiseSchedule(config.noise)
        self._constant = self._angles = None
        self.replayed: Callable[..., torch.Tensor] | None = None
        # Training's faster way, see stepimp.training.speed.
        self.run_blocks: Callable[..., torch.Tensor] | None = None
        self.trunk: FrozenTrunk | None = None  # inference's, see `freeze`
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
        their own.
        """
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
            # MDLM's own cap; the linear alpha reaches 0 at t = 1.
            sigma = -torch.log(alpha.clamp_min(1e-3))
        else:
            sigma = torch.zeros(1, device=device)
        c = self.backbone.sigma_map(sigma)
        blocks = [block.adaLN_modulation(c).chunk(6, dim=-1) for block in self.backbone.blocks]
        return blocks, self.backbone.output_layer.adaLN_modulation(c).chunk(2, dim=-1)

    def get_input_embeddings(self) -> nn.Module:
        return self.backbone.vocab_embed

    def freeze(self) -> "MDLMForMaskedLM":
        """For inference: no dropout, no gradients, constants folded. Weights must not change or
        move afterwards.

        bf16 logits would cost about 8e-3 nats of KL per token. On a CPU the vocabulary projection
        goes to fp32 or wider, and bf16 blocks run as one function where `fused.frozen` has it; a
        GPU multiplies bf16 into fp32 and needs no wider weights. There, with Triton, `replayed` is
        compiled in few shapes.
        """
        self.eval().requires_grad_(False)
        embedding = self.backbone.vocab_embed.embedding
        self._constant = None if self.config.time_conditioning else self.modulations(None)
        *blocks, last = self.backbone.blocks
        for block in blocks:
            block.pack("qkv", "out", "up", "down")
        last.pack("q", "kv", "out", "up", "down")
        self._angles = angles = self.backbone.rotary_emb(self.max_length, embedding)
        if not embedding.is_cuda:
            self.backbone.output_layer.linear.to(torch.promote_types(self.dtype, torch.float32))
            if self._constant and embedding.dtype == torch.bfloat16:
                modulations, _ = self._constant
                self.trunk = frozen(self.backbone.blocks, modulations, *angles)
        self.replayed = self._hidden
        if embedding.is_cuda and installed():
            self.replayed = InFewShapes(
                compiled(self._hidden, tree_leaves((self._constant or (), self._angles))),
                eager=self._hidden,
            )
        return self

    def hidden(self, z, t=None, at=None) -> torch.Tensor:
        """What the vocabulary projection takes. z: [B, L] token ids; t: [B] times in [0, 1];
        returns [B, L, D].

        With at, [B, n] positions: [B, n, D], the same rows for less work, since the last block then
        runs its queries and its MLP at those positions only. Raises ValueError for tensors that do
        not fit.
        """
        check_inputs(self, z, t, at)
        return self._hidden(z, t, at)

    def _hidden(self, z, t=None, at=None) -> torch.Tensor:
        """`hidden` of tensors that fit."""
        blocks, (shift, scale) = self._constant or self.modulations(t)
        x = self.backbone.vocab_embed(z)
        angles = self._angles or self.backbone.rotary_emb(z.shape[1], x)
        cos, sin = (part[: z.shape[1]] for part in angles)
        if self.run_blocks is not None and self.training and at is None:
            x = self.run_blocks(self.backbone.blocks, blocks, cos, sin, x)
            return modulated_norm(x, self.backbone.output_layer.norm_final.weight, shift, scale)
        if self.trunk is not None and self.trunk.fits(z.shape[1]):
            x = self.trunk(x)
            x = x if at is None else take(x, at)
        else:
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
        at the rows only.
        """
        dim = self.config.hidden_dim
        # query, output and MLP; scores and weighted values
        row = 2 * 10 * dim**2 + 4 * length * dim
        keys_and_values = length * 2 * 2 * dim**2
        whole = (self.blocks - 1) * self.block_flops(length) + keys_and_values
        return whole, row + 2.0 * dim * self.vocab_size

    def block_flops(self, length: int) -> float:
        """FLOPs of one block on all positions of a sequence."""
        dim = self.config.hidden_dim
        return length * (2.0 * 12 * dim**2 + 4 * length * dim)

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
        None.
        """
        hidden = self._hidden(input_ids, timesteps)  # unchecked: it is called in each training step
        if labels is None:
            return MaskedLMOutput(logits=self.logits(hidden))
        labelled = labels != -100
        logits = self.logits(hidden[labelled])
        if label_probabilities is None:
            losses = F.cross_entropy(logits, labels[labelled], reduction="none")
        else:  # which are 0 at the mask token, where the logarithm is not finite
            logs = logits.log_softmax(-1).clamp_min(torch.finfo(logits.dtype).min)
            losses = -(label_probabilities * logs).sum(-1)
        if label_weights is not None:
            losses = losses * label_weights[labelled]
        return MaskedLMOutput(loss=losses.sum() / labels.numel())


AutoConfig.register("mdlm", MDLMConfig)
AutoModelForMaskedLM.register(MDLMConfig, MDLMForMaskedLM)
