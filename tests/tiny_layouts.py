"""Tiny random models of each layout, written under the published names and config.

Each writer takes (folder, blocks, seed, tokenizer) and returns (path, reference): the reference is
a function from z [B, L] to logits [B, L, V] in float64, row i about position i, made of the class
that the layout was published as, or of transformers' own.
"""

import torch
import transformers
from safetensors.torch import save_file
from tiny_models import (
    HEADS,
    LENGTH,
    WIDTH,
    both_ways,
    randomised,
    shifted,
    stored,
    word_tokenizer,
    write,
)


def llama(blocks: int, rows: int, **config):
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=rows,
            hidden_size=WIDTH,
            intermediate_size=48,
            num_hidden_layers=blocks,
            num_attention_heads=HEADS,
            rms_norm_eps=1e-5,
            bos_token_id=None,
            eos_token_id=None,
            **config,
        )
    )


LLADA_BLOCK = {
    "self_attn.q_proj": "q_proj",
    "self_attn.k_proj": "k_proj",
    "self_attn.v_proj": "v_proj",
    "self_attn.o_proj": "attn_out",
    "mlp.gate_proj": "ff_proj",
    "mlp.up_proj": "up_proj",
    "mlp.down_proj": "ff_out",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ff_norm",
}


def llada(folder, blocks, seed, tokenizer=None):
    tokenizer = tokenizer or word_tokenizer()
    mask, rows = tokenizer.mask_token_id, len(tokenizer) + 6  # padded
    model = randomised(llama(blocks, rows, rope_parameters=rope(5e5)), seed)
    outer = {
        "model.embed_tokens.weight": "wte.weight",
        "model.norm.weight": "ln_f.weight",
        "lm_head.weight": "ff_out.weight",
    }
    tensors = {}
    for name, tensor in stored(model).items():
        if name in outer:
            theirs = outer[name]
        else:
            layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            theirs = f"blocks.{layer}.{LLADA_BLOCK[part]}.weight"
        tensors[f"model.transformer.{theirs}"] = tensor
    config = dict(
        model_type="llada",
        d_model=WIDTH,
        n_heads=HEADS,
        n_kv_heads=HEADS,
        n_layers=blocks,
        mlp_hidden_size=48,
        vocab_size=len(tokenizer),
        embedding_size=rows,
        max_sequence_length=LENGTH,
        rope_theta=5e5,
        rms_norm_eps=1e-5,
        weight_tying=False,
        block_type="llama",
        layer_norm_type="rms",
        mask_token_id=mask,
        auto_map={"AutoModel": "modeling_llada.LLaDAModelLM"},
    )
    return write(folder, config, tensors, tokenizer), both_ways(model)


def rope(theta: float) -> dict:
    return {"rope_type": "default", "rope_theta": theta}


def smdm(folder, blocks, seed, tokenizer=None):
    """A bare file; heads are 64 wide in it, and the mask token is past the head's last row."""
    tokenizer = tokenizer or word_tokenizer(mask=None)
    width, heads, rows = 128, 2, len(tokenizer) + 1
    config = transformers.LlamaConfig(
        vocab_size=rows,
        hidden_size=width,
        intermediate_size=48,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        rms_norm_eps=1e-5,
        rope_parameters=rope(1e4),
        bos_token_id=None,
        eos_token_id=None,
    )
    model = randomised(transformers.LlamaForCausalLM(config), seed)
    state, tensors = stored(model), {}
    tensors["transformer.wte.weight"] = state["model.embed_tokens.weight"]
    tensors["transformer.ln_f.weight"] = state["model.norm.weight"]
    tensors["lm_head.weight"] = state["lm_head.weight"][:-1]
    for n in range(blocks):
        ours, theirs = f"model.layers.{n}.", f"transformer.h.{n}."
        q, k, v = (
            state[f"{ours}self_attn.{part}_proj.weight"].view(heads, 1, 64, width) for part in "qkv"
        )
        tensors[theirs + "attn.attn.weight"] = torch.cat((q, k, v), 1).reshape(3 * width, width)
        for native, published in {
            "self_attn.o_proj": "attn.proj",
            "input_layernorm": "norm_1",
            "post_attention_layernorm": "norm_2",
            "mlp.gate_proj": "mlp.swiglu.w1",
            "mlp.up_proj": "mlp.swiglu.w2",
            "mlp.down_proj": "mlp.swiglu.w3",
        }.items():
            tensors[f"{theirs}{published}.weight"] = state[f"{ours}{native}.weight"]
    folder.mkdir(parents=True)
    tokenizer.save_pretrained(folder)
    file = folder / f"mdm-{seed}M-{blocks}.safetensors"
    save_file({n: t.contiguous() for n, t in tensors.items()}, file)
    return str(file), both_ways(model)


def dream(folder, blocks, seed, tokenizer=None):
    tokenizer = tokenizer or word_tokenizer()
    native = transformers.Qwen2Config(
        vocab_size=len(tokenizer) + 5,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=blocks,
        num_attention_heads=4,
        num_key_value_heads=2,
        rope_parameters=rope(1e6),
        bos_token_id=None,
        eos_token_id=None,
    )
    model = randomised(transformers.Qwen2ForCausalLM(native), seed)
    config = dict(
        model_type="Dream",
        vocab_size=native.vocab_size,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=blocks,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LENGTH,
        rope_theta=1e6,
        rope_scaling=None,
        rms_norm_eps=native.rms_norm_eps,
        tie_word_embeddings=False,
        mask_token_id=tokenizer.mask_token_id,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return write(folder, config, stored(model), tokenizer), shifted(both_ways(model))


def diffugpt(folder, blocks, seed, tokenizer=None):
    tokenizer = tokenizer or word_tokenizer()
    native = transformers.GPT2Config(
        vocab_size=len(tokenizer) + 3,
        n_positions=LENGTH,
        n_embd=WIDTH,
        n_layer=blocks,
        n_head=HEADS,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = randomised(transformers.GPT2LMHeadModel(native), seed)
    tensors = {}
    for name, tensor in stored(model).items():
        wte = name == "transformer.wte.weight"
        theirs = "embed_tokens.weight" if wte else name.replace("transformer.", "denoise_model.")
        tensors[theirs] = tensor
    config = dict(
        model_type="gpt2",
        vocab_size=len(tokenizer),
        n_positions=LENGTH,
        n_embd=WIDTH,
        n_layer=blocks,
        n_head=HEADS,
    )
    return write(folder, config, tensors, tokenizer), shifted(both_ways(model))


def qwen3(folder, blocks, seed, tokenizer=None):
    tokenizer = tokenizer or word_tokenizer()
    config = dict(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=blocks,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = randomised(transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**config)), seed)
    config["model_type"] = "a2d-qwen3"
    return write(folder, config, stored(model), tokenizer), both_ways(model)


MASKED = dict(num_hidden_layers=2, num_attention_heads=HEADS, hidden_size=WIDTH)
KINDS = {
    "bert": ("Bert", dict(intermediate_size=48)),
    "roberta": ("Roberta", dict(intermediate_size=48, pad_token_id=0)),
    "electra": ("Electra", dict(intermediate_size=48, embedding_size=16)),
    "distilbert": ("DistilBert", dict(dim=WIDTH, hidden_dim=48, n_heads=HEADS)),
    "modernbert": ("ModernBert", dict(intermediate_size=48, pad_token_id=0)),
    "eurobert": ("EuroBert", dict(intermediate_size=48, pad_token_id=0, mask_token_id=4)),
}


def masked_lm(kind: str):
    """The writer of one of `KINDS`."""

    def writer(folder, blocks, seed, tokenizer=None):
        tokenizer = tokenizer or word_tokenizer(bert=True)
        name, fields = KINDS[kind]
        depth = {"n_layers": blocks} if kind == "distilbert" else {"num_hidden_layers": blocks}
        shape = {**MASKED, **depth} if kind != "distilbert" else depth
        ends = dict(bos_token_id=None, eos_token_id=None) if kind.startswith(("m", "eu")) else {}
        config = getattr(transformers, f"{name}Config")(
            vocab_size=len(tokenizer), max_position_embeddings=LENGTH, **shape, **fields, **ends
        )
        model = randomised(getattr(transformers, f"{name}ForMaskedLM")(config), seed)
        written = {k: v for k, v in config.to_dict().items() if v is not None}
        twin = type(model)(config).double().eval()
        twin.load_state_dict({n: t.double() for n, t in model.state_dict().items()})
        path = write(folder, written, stored(model), tokenizer)
        return path, lambda z: twin(input_ids=z).logits

    return writer


LAYOUTS = {
    "llada": llada,
    "smdm": smdm,
    "dream": dream,
    "diffugpt": diffugpt,
    "qwen3": qwen3,
    **{kind: masked_lm(kind) for kind in KINDS},
}
