"""Qwen3, Qwen2 and Llama continued as masked diffusion models (dLLM's `a2d-*` checkpoints)."""

import transformers

from stepimp.models.layouts.layout import Layout, Shapes, native_fields

PREFIX = "a2d-"
NATIVE = {
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
}


def layout(config: dict, shapes: Shapes) -> Layout:
    """The layout of one of these models."""
    config_class, model = NATIVE[config["model_type"].removeprefix(PREFIX)]
    fields = native_fields(config)
    shift = int(bool(fields.pop("right_shift_logits", False)))
    mask_id = fields.pop("mask_token_id", None)
    # Their forward pass masks nothing in any layer, whatever the config says of windows.
    fields |= {"use_sliding_window": False, "layer_types": None}
    native = config_class(**fields)
    return Layout(
        config["model_type"],
        model,
        native,
        mask_id=mask_id,
        shift=shift,
        max_length=native.max_position_embeddings,
    )
