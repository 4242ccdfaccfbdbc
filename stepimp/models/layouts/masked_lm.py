"""Any masked language model of transformers: BERT, RoBERTa, ELECTRA's generator, ModernBERT, ..."""

from transformers import AutoConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from stepimp.errors import StepimpError
from stepimp.models.layouts.layout import Layout, Shapes

# Their first position comes after the padding token's.
OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "data2vec-text"}
TRAINED_MASKING = {"modernbert": 0.3, "eurobert": 0.5}
# Heads of other tasks in checkpoints of the pretraining class, and constants of older versions.
LEFT_OUT = (
    r"^cls\.seq_relationship\.",
    r"(^|\.)pooler\.",
    r"^discriminator_predictions\.",
    r"embeddings\.position_ids$",
)
OLD_NORMS = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))


def matches(config: dict) -> bool:
    """Whether transformers has a masked language model of this type."""
    return config.get("model_type") in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def layout(config: dict, shapes: Shapes) -> Layout:
    """The layout of a masked language model. Raises StepimpError for a decoder."""
    fields = {key: value for key, value in config.items() if key != "auto_map"}
    native = AutoConfig.for_model(fields.pop("model_type"), **fields)
    if native.is_encoder_decoder or getattr(native, "is_decoder", False):
        raise StepimpError("it is a decoder, which reads from left to right.")
    kind = native.model_type
    length = getattr(native, "max_position_embeddings", None)
    if not length:
        raise StepimpError("its config.json does not say how many positions it has.")
    if kind in OFFSET_POSITIONS:
        length -= native.pad_token_id + 1
    return Layout(
        kind,
        MODEL_FOR_MASKED_LM_MAPPING[type(native)],
        native,
        keys=OLD_NORMS if any(name.endswith(".gamma") for name in shapes) else (),
        left_out=LEFT_OUT,
        mask_id=config.get("mask_token_id"),
        max_length=length,
        special_tokens=True,
        trained_masking=TRAINED_MASKING.get(kind, 0.15),
    )
