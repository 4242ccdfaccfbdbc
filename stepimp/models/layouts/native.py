"""A folder that `stepimp convert` wrote: native names, and the layout in config.json."""

import transformers
from transformers import AutoConfig

from stepimp.models.layouts.layout import Layout, Shapes, describes_no_model

FIELD = "stepimp"
RECORDED = (
    "name",
    "mask_id",
    "shift",
    "noise",
    "max_length",
    "special_tokens",
    "trained_masking",
)


def matches(config: dict) -> bool:
    """Whether `stepimp convert` wrote this config.json."""
    return isinstance(config.get(FIELD), dict)


def recorded(layout: Layout) -> dict:
    """What a converted config.json records of a layout, under `FIELD`."""
    return {name: getattr(layout, name) for name in RECORDED}


def layout(config: dict, shapes: Shapes) -> Layout:
    """Raises StepimpError where the class is not a language model of transformers, and for an entry
    that `stepimp convert` does not write.
    """
    facts = config[FIELD]
    if facts.keys() != set(RECORDED):
        wrong = ", ".join(sorted(facts.keys() ^ set(RECORDED)))
        raise describes_no_model(f"its entry {FIELD!r} lacks or has too much: {wrong}")
    fields = {key: value for key, value in config.items() if key not in (FIELD, "auto_map")}
    native = AutoConfig.for_model(fields.pop("model_type", None), **fields)
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and len(names) == 1 else names
    heads = ("ForMaskedLM", "LMHeadModel", "ForCausalLM")
    model = None
    if isinstance(name, str) and name.endswith(heads):
        model = getattr(transformers, name, None)
    if model is None or model.config_class is not type(native):
        raise describes_no_model(f"it names the class {name!r:.80}, which is not its model")
    exact = ("PreTrainedTokenizerFast",)  # others rebuild a tokenizer by the model's type
    return Layout(model=model, config=native, tokenizer_classes=exact, **facts)
