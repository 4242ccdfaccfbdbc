"""Dream 7B and DiffuCoder: a Qwen2 that attends both ways and predicts from the row before."""

from transformers import Qwen2Config, Qwen2ForCausalLM

from stepimp.models.layouts.layout import Layout, Shapes, native_fields, rope_of


def layout(config: dict, shapes: Shapes) -> Layout:
    """The layout of a Dream or DiffuCoder. Raises StepimpError for a scaled rotary embedding."""
    fields = {
        key: value
        for key, value in native_fields(config).items()
        if key
        not in ("rope_theta", "rope_scaling", "rope_parameters", "mask_token_id", "pad_token_id")
    }
    native = Qwen2Config(**fields, rope_parameters=rope_of(config, 1e6))
    return Layout(
        "Dream",
        Qwen2ForCausalLM,
        native,
        mask_id=config.get("mask_token_id"),
        shift=1,
        max_length=native.max_position_embeddings,
        tokenizer_classes=("AutoTokenizer", "Qwen2Tokenizer"),
    )
