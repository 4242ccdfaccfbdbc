"""LLaDA 8B and 1.5 (Nie et al., arXiv 2502.09992): a Llama that attends both ways."""

from transformers import LlamaConfig, LlamaForCausalLM

from stepimp.errors import StepimpError
from stepimp.models.layouts.layout import Layout, Shapes, field_of, rope_of

KEYS = (
    ("model.embed_tokens.", "model.transformer.wte."),
    ("model.norm.", "model.transformer.ln_f."),
    ("lm_head.", "model.transformer.ff_out."),
    ("model.layers.", "model.transformer.blocks."),
    ("input_layernorm.", "attn_norm."),
    ("post_attention_layernorm.", "ff_norm."),
    ("self_attn.o_proj.", "attn_out."),
    ("self_attn.", ""),
    ("mlp.gate_proj.", "ff_proj."),
    ("mlp.up_proj.", "up_proj."),
    ("mlp.down_proj.", "ff_out."),
)
# Fields that change the forward pass, and their values for LLaDA 8B, which are also the defaults.
FORWARD: dict[str, tuple] = {
    "block_type": ("llama",),
    "layer_norm_type": ("rms",),
    "activation_type": ("silu", "swiglu"),
    "rope": (True,),
    "alibi": (False,),
    "scale_logits": (False,),
    "attention_layer_norm": (False,),
    "input_emb_norm": (False,),
    "clip_qkv": (),
    "include_bias": (False,),
    "include_qkv_bias": (False,),
    "bias_for_layer_norm": (False,),
    "layer_norm_with_affine": (True,),
    "block_group_size": (1,),
}


def refuse_other_forward(config: dict):
    """Raises StepimpError for a field that changes the forward pass."""
    for name, allowed in FORWARD.items():
        value = config.get(name)
        if value is not None and value not in allowed:
            loads = " or ".join(map(repr, allowed)) or "null"
            raise StepimpError(
                f"its config.json has {name} = {value!r:.50}, which changes the forward pass; with "
                f"LLaDA 8B's, {loads}, it would load."
            )


def layout(config: dict, shapes: Shapes) -> Layout:
    """The layout of a LLaDA. Raises StepimpError for one that computes something else."""
    if config.get("n_experts") or config.get("num_experts"):
        raise StepimpError("it is a mixture of experts; of LLaDA the dense models load.")
    refuse_other_forward(config)
    heads = field_of(config, "n_heads")
    native = LlamaConfig(
        vocab_size=config.get("embedding_size") or field_of(config, "vocab_size"),
        hidden_size=field_of(config, "d_model"),
        intermediate_size=field_of(config, "mlp_hidden_size"),
        num_hidden_layers=field_of(config, "n_layers"),
        num_attention_heads=heads,
        num_key_value_heads=config.get("n_kv_heads") or heads,
        max_position_embeddings=config.get("max_sequence_length", 4096),
        rms_norm_eps=config.get("rms_norm_eps", 1e-5),
        rope_parameters=rope_of(config, 10000.0),
        tie_word_embeddings=bool(config.get("weight_tying", False)),
        bos_token_id=None,
        eos_token_id=None,
    )
    return Layout(
        "LLaDA",
        LlamaForCausalLM,
        native,
        keys=KEYS,
        mask_id=config.get("mask_token_id"),
        max_length=native.max_position_embeddings,
    )
