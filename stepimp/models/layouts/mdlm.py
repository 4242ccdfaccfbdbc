"""MDLM as a Hugging Face folder (`kuleshov-group/mdlm-owt`, and what `stepimp train` writes)."""

from stepimp.models.layouts.layout import Layout, Shapes, describes_no_model, native_fields
from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.models.mdlm_config import MDLMConfig


def layout(config: dict, shapes: Shapes) -> Layout:
    """The layout of an MDLM in the public format."""
    if not isinstance(config.get("time_conditioning", False), bool):
        raise describes_no_model(f"time_conditioning is {config['time_conditioning']!r:.50}")
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
