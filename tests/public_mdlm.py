"""The public MDLM layout: its config, names and shapes, and its forward pass in NumPy."""

import numpy as np

V, LENGTH, WIDTH, COND, HEADS = 24, 12, 16, 4, 2
TOLERANCE = 1e-5

PUBLIC_CONFIG = {
    "architectures": ["MDLM"],
    "model_type": "mdlm",
    "vocab_size": V,
    "model_length": 32,
    "hidden_dim": WIDTH,
    "cond_dim": COND,
    "n_blocks": 2,
    "n_heads": HEADS,
    "dropout": 0.1,
    "time_conditioning": False,
    "return_dict": False,
    "auto_map": {
        "AutoConfig": "configuration_mdlm.MDLMConfig",
        "AutoModelForMaskedLM": "modeling_mdlm.MDLM",
    },
}


def public_shapes(blocks: int) -> dict[str, tuple]:
    """Names and shapes of the published checkpoints' tensors."""
    shapes = {
        "vocab_embed.embedding": (V, WIDTH),
        "sigma_map.mlp.0.weight": (COND, 256),
        "sigma_map.mlp.0.bias": (COND,),
        "sigma_map.mlp.2.weight": (COND, COND),
        "sigma_map.mlp.2.bias": (COND,),
        "rotary_emb.inv_freq": (WIDTH // HEADS // 2,),
        "output_layer.norm_final.weight": (WIDTH,),
        "output_layer.linear.weight": (V, WIDTH),
        "output_layer.linear.bias": (V,),
        "output_layer.adaLN_modulation.weight": (2 * WIDTH, COND),
        "output_layer.adaLN_modulation.bias": (2 * WIDTH,),
    }
    for n in range(blocks):
        shapes |= {
            f"blocks.{n}.norm1.weight": (WIDTH,),
            f"blocks.{n}.attn_qkv.weight": (3 * WIDTH, WIDTH),
            f"blocks.{n}.attn_out.weight": (WIDTH, WIDTH),
            f"blocks.{n}.norm2.weight": (WIDTH,),
            f"blocks.{n}.mlp.0.weight": (4 * WIDTH, WIDTH),
            f"blocks.{n}.mlp.0.bias": (4 * WIDTH,),
            f"blocks.{n}.mlp.2.weight": (WIDTH, 4 * WIDTH),
            f"blocks.{n}.mlp.2.bias": (WIDTH,),
            f"blocks.{n}.adaLN_modulation.weight": (6 * WIDTH, COND),
            f"blocks.{n}.adaLN_modulation.bias": (6 * WIDTH,),
        }
    return {f"backbone.{name}": shape for name, shape in shapes.items()}


def reference(weights: dict, z: np.ndarray, sigma: np.ndarray, blocks: int) -> np.ndarray:
    """log p [L, V] of one sequence z [L] in float64, written from the published description and
    from nothing else.
    """
    w = {
        name.removeprefix("backbone."): tensor.double().numpy() for name, tensor in weights.items()
    }
    linear = lambda x, name: x @ w[name + ".weight"].T + w.get(name + ".bias", 0)  # noqa: E731
    silu = lambda x: x / (1 + np.exp(-x))  # noqa: E731
    gelu = lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))  # noqa: E731

    def norm(x, weight, shift, scale):
        centred = x - x.mean(-1, keepdims=True)
        normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight
        return normed * (1 + scale) + shift

    def softmax(x):
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    def rope(x):  # [L, d]
        half = x.shape[1] // 2
        angle = np.arange(len(x))[:, None] * 10000.0 ** (-np.arange(half) / half)
        a, b = x[:, :half], x[:, half:]
        return np.concatenate(
            [a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], 1
        )

    frequencies = np.exp(-np.log(10000) * np.arange(128) / 128)
    features = np.concatenate([np.cos(sigma * frequencies), np.sin(sigma * frequencies)])
    c = silu(linear(silu(linear(features, "sigma_map.mlp.0")), "sigma_map.mlp.2"))
    x, d = w["vocab_embed.embedding"][z], WIDTH // HEADS
    for n in range(blocks):
        b = f"blocks.{n}."
        shift1, scale1, gate1, shift2, scale2, gate2 = np.split(
            linear(c, b + "adaLN_modulation"), 6
        )
        qkv = linear(norm(x, w[b + "norm1.weight"], shift1, scale1), b + "attn_qkv").reshape(
            len(z), 3, HEADS, d
        )
        heads = []
        for h in range(HEADS):
            q, k, v = rope(qkv[:, 0, h]), rope(qkv[:, 1, h]), qkv[:, 2, h]
            heads.append(softmax(q @ k.T / np.sqrt(d)) @ v)
        x = x + gate1 * linear(np.concatenate(heads, 1), b + "attn_out")
        inner = gelu(linear(norm(x, w[b + "norm2.weight"], shift2, scale2), b + "mlp.0"))
        x = x + gate2 * linear(inner, b + "mlp.2")
    shift, scale = np.split(linear(c, "output_layer.adaLN_modulation"), 2)
    logits = linear(
        norm(x, w["output_layer.norm_final.weight"], shift, scale), "output_layer.linear"
    )
    logits[:, V - 1] = -np.inf
    return np.log(softmax(logits)[:, : V - 1])
