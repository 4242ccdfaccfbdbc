"""A masked or causal language model of transformers as a denoiser, its body and head apart."""

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from stepimp.errors import StepimpError
from stepimp.kernels.blocks import EXCLUDED
from stepimp.kernels.linear import project
from stepimp.models.denoiser import Denoiser, check_inputs
from stepimp.models.layers import take
from stepimp.models.layouts.layout import Layout
from stepimp.models.vocabulary import Vocabulary
from stepimp.noise import NoiseSchedule

NOT_APART = "its head does more than one projection and cannot be taken apart"


class NativeDenoiser(Denoiser):
    """A model of transformers without its output projection, so that its forward pass ends with the
    rows that the projection takes: after the masked-LM transform, where there is one.
    """

    def __init__(self, model: nn.Module, layout: Layout, vocabulary: Vocabulary, fingerprint: str):
        config = model.config
        self.model, self.layout, self.fingerprint = (
            model.eval().requires_grad_(False),
            layout,
            fingerprint,
        )
        self.mask_id, self.vocab_size = vocabulary.mask_id, vocabulary.size
        self.special_ids, self.frame = vocabulary.special_ids, vocabulary.frame
        self.shift, self.max_length = layout.shift, layout.max_length
        self.trained_masking, self.noise = layout.trained_masking, NoiseSchedule(layout.noise)
        self.blocks = config.num_hidden_layers
        self.device, self.dtype = model.device, model.dtype
        self._flops = BodyFlops(model)
        make_bidirectional(model)
        config.return_dict, config.output_hidden_states = True, False  # whatever was published
        self._head = self._take_head(vocabulary)
        self._check_head()
        self.replayed = self._hidden

    def _take_head(self, vocabulary: Vocabulary) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias without the rows past the vocabulary; unknown ids are excluded by the
        bias, in fp32, since half precision cannot hold `EXCLUDED`.

        On a CPU the weight goes to fp32 or wider, as the logits do.
        """
        projection = self.model.get_output_embeddings()
        if not isinstance(projection, nn.Linear):
            raise StepimpError("its output layer is not a plain projection.")
        self._projection = projection
        self._slot = next(n for n, module in self.model.named_modules() if module is projection)
        wide = torch.promote_types(self.dtype, torch.float32)
        weight = projection.weight[: self.vocab_size]
        weight = weight if weight.is_cuda else weight.to(wide)
        bias = torch.zeros(self.vocab_size, dtype=wide, device=self.device)
        if projection.bias is not None:
            bias += projection.bias[: self.vocab_size]
        bias[torch.tensor(vocabulary.unknown_ids, dtype=torch.long, device=self.device)] = EXCLUDED
        self.model.set_submodule(self._slot, nn.Identity())
        return weight, bias

    @torch.no_grad()
    def _check_head(self):
        """Raises StepimpError unless body and head give the model's own logits, and attention goes
        both ways; another version of transformers may have changed either.
        """
        z = torch.full((2, 3), self.mask_id, device=self.device)
        z[1, 2] = (self.mask_id + 1) % self.vocab_size
        try:
            rows = self.model(input_ids=z).logits
        except RuntimeError as error:  # of shapes, where something follows the projection
            raise StepimpError(f"{NOT_APART} ({error}).") from error
        apart = project(rows[:, :1].flatten(0, 1), self._head, self.mask_id)
        self.model.set_submodule(self._slot, self._projection)
        whole = self.model(input_ids=z).logits[:, 0, : self.vocab_size].to(apart.dtype)
        self.model.set_submodule(self._slot, nn.Identity())
        allowed = apart > EXCLUDED / 2
        tolerance = 1e-4 if self.dtype in (torch.float32, torch.float64) else 0.1
        difference = (apart[allowed] - whole[allowed]).abs().max()
        if not difference <= tolerance * (1 + whole[allowed].abs().max()):
            raise StepimpError(f"{NOT_APART}.")
        if torch.equal(rows[0, 0], rows[1, 0]):
            raise StepimpError(
                "its first position does not react to the last: attention runs one way in this "
                "version of transformers."
            )

    def hidden(self, z, t=None, at=None) -> torch.Tensor:
        """z: [B, L]; at: [B, n] positions -> [B, n, D], or all positions [B, L, D]. t is not used.

        All positions go through every block: the published modules cannot take a subset of queries.
        Raises ValueError for tensors that do not fit.
        """
        check_inputs(self, z, t, at)
        return self._hidden(z, t, at)

    def _hidden(self, z, t=None, at=None) -> torch.Tensor:
        """`hidden` of tensors that fit."""
        rows = self.model(input_ids=z).logits
        if at is not None:
            return take(rows, (at - self.shift).clamp_min(0))
        return torch.cat((rows[:, :1], rows[:, :-1]), 1) if self.shift else rows

    def head(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [V, D] and bias [V] of the vocabulary projection."""
        return self._head

    def flops(self, length: int) -> tuple[float, float]:
        """FLOPs of `hidden` on one sequence, and of each row's logits."""
        weight = self._head[0]
        outside = self._flops.outside * length
        return self.blocks * self.block_flops(length) + outside, 2.0 * weight.numel()

    def block_flops(self, length: int) -> float:
        """FLOPs of one block on all positions of a sequence."""
        return self._flops.block * length + self._flops.attention * length**2


class BodyFlops:
    """FLOPs per token of a body, read off its matrices: grouped keys and values, SwiGLU and
    mixtures of experts (only those that a token uses) are counted as they are.

    block, outside: of the products in one block and outside of all; attention: of scores and
    weighted values, per pair of positions of a block. A multiply-add counts as two.
    """

    def __init__(self, model: nn.Module):
        config, head = model.config, model.get_output_embeddings()
        lists = (m for m in model.modules() if isinstance(m, nn.ModuleList))
        layers = next((m for m in lists if len(m) == config.num_hidden_layers), None)
        if layers is None:
            raise StepimpError("its blocks are not a list of as many modules as it has blocks.")
        share = getattr(config, "num_experts_per_tok", 1) / getattr(config, "num_experts", 1)
        everywhere = products(model, share) - (0 if head is None else head.weight.numel())
        inside = products(layers, share)
        heads = config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // heads
        self.block, self.outside = 2 * inside / len(layers), 2 * (everywhere - inside)
        self.attention = 4 * heads * width


def products(module: nn.Module, expert_share: float) -> float:
    """Multiply-adds per token in all linear layers below a module."""
    total = 0.0
    for part in module.modules():
        for parameter in part.parameters(recurse=False):
            if parameter.ndim == 3:  # [experts, out, in]
                total += parameter.numel() * expert_share
            elif parameter.ndim == 2 and isinstance(part, (nn.Linear, Conv1D)):
                total += parameter.numel()
    return total


def make_bidirectional(model: nn.Module):
    """Attention masks nothing: by the config, which makes the masks, and on each module, which
    chooses the kernel.
    """
    model.config.is_causal = False
    model.config.use_cache = False
    for module in model.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False
