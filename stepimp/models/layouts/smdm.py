"""SMDM (Nie et al., arXiv 2410.18514): a bare safetensors file, its shape read off the tensors."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from stepimp.errors import StepimpError
from stepimp.models.layouts.layout import Layout, Shapes, count, rope

EMBEDDING, HEAD, QKV = (
    "transformer.wte.weight",
    "lm_head.weight",
    "transformer.h.0.attn.attn.weight",
)
KEYS = (
    ("model.embed_tokens.", "transformer.wte."),
    ("model.norm.", "transformer.ln_f."),
    ("model.layers.", "transformer.h."),
    ("input_layernorm.", "norm_1."),
    ("post_attention_layernorm.", "norm_2."),
    ("self_attn.q_proj.", "attn.attn."),
    ("self_attn.k_proj.", "attn.attn."),
    ("self_attn.v_proj.", "attn.attn."),
    ("self_attn.o_proj.", "attn.proj."),
    ("mlp.gate_proj.", "mlp.swiglu.w1."),
    ("mlp.up_proj.", "mlp.swiglu.w2."),
    ("mlp.down_proj.", "mlp.swiglu.w3."),
)


def matches(shapes: Shapes) -> bool:
    """Whether tensors have the names of an SMDM."""
    return {EMBEDDING, HEAD, QKV} <= shapes.keys()


def head_width(width: int) -> int:
    """Of the published sizes: 64 up to 1152 wide, 128 above."""
    return 64 if width < 1280 else 128


def layout(config: dict, shapes: Shapes) -> Layout:
    """config: empty for a bare file; `n_head` and `block_size` are taken from it where given."""
    if len(shapes[EMBEDDING]) != 2:
        raise StepimpError(f"{EMBEDDING} has shape {shapes[EMBEDDING]} and is not a matrix.")
    rows, width = shapes[EMBEDDING]
    heads = config.get("n_head") or width // head_width(width)
    gate = shapes.get("transformer.h.0.mlp.swiglu.w1.weight")
    if not gate or not heads or width % heads:
        raise StepimpError(
            f"no attention heads of width {head_width(width)} and SwiGLU fit its tensors "
            f"({width} wide)."
        )
    native = LlamaConfig(
        vocab_size=rows,
        hidden_size=width,
        intermediate_size=gate[0],
        num_hidden_layers=count(shapes, r"^transformer\.h\.(\d+)\."),
        num_attention_heads=heads,
        max_position_embeddings=config.get("block_size", 2048),
        rms_norm_eps=1e-5,
        rope_parameters=rope(10000.0),
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )

    def part(name: str, stored: torch.Tensor) -> torch.Tensor:
        """Queries, keys and values are stored head by head; the head lacks the mask's row."""
        if name == HEAD and stored.shape == (rows - 1, width):
            return torch.nn.functional.pad(stored, (0, 0, 0, 1))
        which = next((i for i, key in enumerate("qkv") if f".{key}_proj." in name), None)
        if which is None or stored.shape != (3 * width, width):
            return stored
        return stored.view(heads, 3, width // heads, width)[:, which].reshape(width, width)

    return Layout(
        "SMDM",
        LlamaForCausalLM,
        native,
        keys=KEYS,
        part=part,
        mask_id=rows - 1,
        max_length=native.max_position_embeddings,
        tokenizer="TinyLlama/TinyLlama_v1.1",
    )
