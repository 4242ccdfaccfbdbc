"""DiffuGPT (Gong et al., arXiv 2410.17891): a GPT-2 that attends both ways, shifted by one."""

from transformers import GPT2Config, GPT2LMHeadModel

from stepimp.models.layouts.layout import Layout, Shapes, native_fields

EMBEDDING = "embed_tokens.weight"
KEYS = (("transformer.wte.", "embed_tokens."), ("transformer.", "denoise_model."))


def matches(shapes: Shapes) -> bool:
    """Whether tensors have the names of a DiffuGPT."""
    return EMBEDDING in shapes and any(name.startswith("denoise_model.h.") for name in shapes)


def layout(config: dict, shapes: Shapes) -> Layout:
    """The layout of a DiffuGPT."""
    fields = native_fields(config) | {"bos_token_id": None, "eos_token_id": None}
    if len(shapes[EMBEDDING]) == 2:  # the mask token was added, and the rows are padded
        fields["vocab_size"] = shapes[EMBEDDING][0]
    native = GPT2Config(**fields)
    return Layout(
        "DiffuGPT",
        GPT2LMHeadModel,
        native,
        keys=KEYS,
        # The embedding of the wrapped model is not used, and GPT-2's masks are constants.
        left_out=(r"denoise_model\.wte\.", r"attn\.(bias|masked_bias)$"),
        mask_id=config.get("mask_token_id"),
        shift=1,
        max_length=native.n_positions,
    )
