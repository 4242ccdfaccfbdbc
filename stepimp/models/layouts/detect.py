"""Which layout a checkpoint has, by its config.json and the names of its tensors."""

from stepimp.errors import StepimpError
from stepimp.models.layouts import (
    bd3lm,
    diffugpt,
    dream,
    llada,
    masked_lm,
    mdlm,
    native,
    qwen3,
    smdm,
)
from stepimp.models.layouts.layout import (
    CAUSAL,
    NO_MODEL,
    UNIFORM,
    WRAPPERS,
    Layout,
    Shapes,
    check_types,
    describes_no_model,
    refuse_more_blocks_than_tensors,
)

BY_TYPE = {
    "mdlm": mdlm.layout,
    "bd3lm": bd3lm.layout,
    "llada": llada.layout,
    "Dream": dream.layout,
    **{qwen3.PREFIX + name: qwen3.layout for name in qwen3.NATIVE},
}
IN_BLOCKS = "it writes block after block (semi-autoregressive), not in one masked diffusion"
REFUSED = {
    "duo": UNIFORM,
    "udlm": UNIFORM,
    "Fast_dLLM_Qwen": IN_BLOCKS,
    "fast_dllm": IN_BLOCKS,
    "sdar": IN_BLOCKS,
    "sdar_moe": IN_BLOCKS,
    "trado": IN_BLOCKS,
    "nemotron_diffusion": IN_BLOCKS,
    "llada2_moe": IN_BLOCKS,
    "diffusion_gemma": IN_BLOCKS,
    "llada_moe": "it is a mixture of experts; of LLaDA the dense models load",
    "gpt2": CAUSAL,
    "llama": CAUSAL,
    "qwen2": CAUSAL,
    "qwen3": CAUSAL,
}


def detect(config: dict, shapes: Shapes) -> Layout:
    """config: the config.json, empty for a bare file of weights.

    Raises StepimpError, with the reason, for a model that is not a masked diffusion denoiser.
    """
    try:
        layout = layout_of(config, shapes)
        check_types(config, layout.config)
        refuse_more_blocks_than_tensors(layout, shapes)
        return layout
    except NO_MODEL as error:
        raise describes_no_model(error) from error


def layout_of(config: dict, shapes: Shapes) -> Layout:
    """`detect`, without its checks of the layout."""
    kind = config.get("model_type")
    if not isinstance(kind, str | None):
        raise describes_no_model(f"model_type is {kind!r:.50}")
    if native.matches(config):
        return native.layout(config, shapes)
    if kind in BY_TYPE:
        return BY_TYPE[kind](config, shapes)
    if diffugpt.matches(shapes):
        return diffugpt.layout(config, shapes)
    if smdm.matches(shapes):
        return smdm.layout(config, shapes)
    for prefix in WRAPPERS:
        if shapes and all(name.startswith(prefix) for name in shapes):
            raise StepimpError(f"All keys begin with `{prefix}`: remove it from the names.")
    if kind in REFUSED:
        raise StepimpError(f"it holds a {kind!r} model: {REFUSED[kind]}.")
    if masked_lm.matches(config):
        return masked_lm.layout(config, shapes)
    layouts = ", ".join(sorted(BY_TYPE))
    raise StepimpError(
        f"it holds a {kind!r} model. Known are {layouts}, SMDM, DiffuGPT, Lightning checkpoints of "
        "MDLM, and the masked language models of transformers."
    )
