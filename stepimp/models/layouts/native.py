"""A folder that `stepimp convert` wrote: native names, and what the layout said in config.json."""

import transformers
from transformers import AutoConfig

from stepimp.errors import StepimpError
from stepimp.models.layouts.layout import Layout, Shapes

FIELD = "stepimp"
SAID = (
    "name",
    "mask_id",
    "shift",
    "noise",
    "max_length",
    "special_tokens",
    "trained_masking",
)


def matches(config: dict) -> bool:
    return isinstance(config.get(FIELD), dict)


def said(layout: Layout) -> dict:
    """What a converted config.json says of a layout, under `FIELD`."""
    return {name: getattr(layout, name) for name in SAID}


def layout(config: dict, shapes: Shapes) -> Layout:
    """Raises StepimpError where the class is not a language model of transformers."""
    fields = {key: value for key, value in config.items() if key not in (FIELD, "auto_map")}
    native = AutoConfig.for_model(fields.pop("model_type"), **fields)
    (name,) = config.get("architectures") or ("",)
    model = (
        getattr(transformers, name, None)
        if name.endswith(("ForMaskedLM", "LMHeadModel")) or (name.endswith("ForCausalLM"))
        else None
    )
    if model is None or model.config_class is not type(native):
        raise StepimpError(f"its config.json names the class {name!r}, which is not its model.")
    facts = {key: value for key, value in config[FIELD].items() if key in SAID}
    exact = ("PreTrainedTokenizerFast",)  # others rebuild a tokenizer by the model's type
    return Layout(model=model, config=native, tokenizer_classes=exact, **facts)
