"""MDLM as a Hugging Face folder (`kuleshov-group/mdlm-owt`, and what `stepimp train` writes)."""

from stepimp.models.layouts.layout import Layout, Shapes, native_fields
from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.models.mdlm_config import MDLMConfig


def layout(config: dict, shapes: Shapes) -> Layout:
    native = MDLMConfig(**native_fields(config))
    return Layout(
        "MDLM",
        MDLMForMaskedLM,
        native,
        mask_id=config.get("mask_token_id"),
        noise=native.noise,
        max_length=native.model_length,
        tokenizer="gpt2",
    )
