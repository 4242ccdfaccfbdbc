"""BD3-LM (Arriola et al., arXiv 2503.09573): with one block it is plain MDLM."""

from stepimp.errors import StepimpError
from stepimp.models.layouts.layout import Layout, Shapes, field_of
from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.models.mdlm_config import MDLMConfig

FIELDS = ("vocab_size", "hidden_dim", "cond_dim", "n_blocks", "n_heads")


def layout(config: dict, shapes: Shapes) -> Layout:
    """Raises StepimpError for a model of several blocks, which is semi-autoregressive."""
    length, block = field_of(config, "model_length"), field_of(config, "block_size")
    if block != length:
        raise StepimpError(
            f"it denoises block after block ({block} of {length} tokens), so that its steps are "
            "not those of one masked diffusion. Only block_size = model_length can be scheduled."
        )
    native = MDLMConfig(
        **{name: field_of(config, name) for name in FIELDS},
        model_length=length,
        dropout=config.get("dropout", 0.1),
        time_conditioning=config.get("time_conditioning", False),
    )
    return Layout(
        "BD3-LM",
        MDLMForMaskedLM,
        native,
        left_out=(r"sampling_eps_(min|max)$",),
        mask_id=config.get("mask_token_id"),
        noise=native.noise,
        max_length=length,
        tokenizer="gpt2",
    )
