"""A Lightning `.ckpt` of the MDLM repository: EMA weights, config and tokenizer's name in a pickle.

Nothing of the pickle is executed; `hyper_parameters` is read as inert data.
"""

import re
from pathlib import Path

import torch

from stepimp.errors import StepimpError
from stepimp.models.inert_pickle import load_inert, plain
from stepimp.models.layouts.layout import Layout
from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.models.mdlm_config import MDLMConfig
from stepimp.models.weights import TensorWeights

PREFIXES = re.compile(r"(^module\.)|(_orig_mod\.)|((?<=\.)module\.)")
BUFFER = "rotary_emb.inv_freq"
REFUSED = {
    "duo": "its corruption replaces tokens by random ones (uniform state); there is no mask token",
    "udlm": "its corruption replaces tokens by random ones (uniform state); there is no mask token",
    "sedd": "it predicts ratios of probabilities (SEDD), not the clean token",
    "ar": "it is autoregressive and reads from left to right",
    "d3pm": "it carries no unmasked tokens over (D3PM parameterisation)",
    "bd3lm": "it denoises block after block (semi-autoregressive)",
}


def read(file: Path) -> tuple[Layout, TensorWeights]:
    """The layout and the EMA weights of a checkpoint.

    Raises StepimpError where the structure is another one, or the model is not an MDLM.
    """
    content = load_inert(file)
    if missing := {"state_dict", "hyper_parameters", "ema"} - content.keys():
        raise StepimpError(
            f"it lacks {', '.join(sorted(missing))}: expected is a Lightning checkpoint of the "
            "MDLM repository."
        )
    saved, config = content["state_dict"], plain(content["hyper_parameters"])
    config = config.get("config") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise StepimpError("its hyper_parameters hold no config with a part 'model'.")
    check(config)
    if not isinstance(saved, dict) or not all(map(torch.is_tensor, saved.values())):
        raise StepimpError("its state_dict is not a dict of tensors.")
    state = {
        PREFIXES.sub("", name): tensor
        for name, tensor in saved.items()
        if PREFIXES.sub("", name).startswith("backbone.")
    }
    parameters = [name for name in state if not name.endswith(BUFFER)]
    if "backbone.vocab_embed.embedding" not in state:
        raise StepimpError("its state_dict has no backbone.vocab_embed.embedding.")
    rows = state["backbone.vocab_embed.embedding"].shape[0]
    native = mdlm_config(config, rows)
    of_noise = sum(name.startswith("noise.") for name in saved)
    tensors = averaged(content["ema"], parameters, state, of_noise)
    layout = Layout(
        "MDLM (Lightning)",
        MDLMForMaskedLM,
        native,
        noise=native.noise,
        max_length=native.model_length,
        tokenizer=(config.get("data") or {}).get("tokenizer_name_or_path", "gpt2"),
    )
    return layout, TensorWeights(tensors)


def check(config: dict):
    """Raises StepimpError for what the repository and its successors train beside MDLM."""
    named = [config.get("parameterization"), config.get("diffusion"), config.get("backbone")]
    if isinstance(config.get("algo"), dict):
        named += [config["algo"].get("name"), config["algo"].get("parameterization")]
    for name in filter(None, named):
        if name in REFUSED:
            raise StepimpError(f"{REFUSED[name]}.")
        if name == "uniform":
            raise StepimpError(f"{REFUSED['udlm']}.")
    noise = (config.get("noise") or {}).get("type", "loglinear")
    if noise != "loglinear":
        raise StepimpError(f"its noise schedule is {noise!r}; of MDLM's, loglinear is supported.")


def mdlm_config(config: dict, rows: int) -> MDLMConfig:
    shape = config["model"]
    try:
        return MDLMConfig(
            vocab_size=rows,
            model_length=shape["length"],
            hidden_dim=shape["hidden_size"],
            cond_dim=shape["cond_dim"],
            n_blocks=shape["n_blocks"],
            n_heads=shape["n_heads"],
            dropout=shape.get("dropout", 0.1),
            time_conditioning=bool(config.get("time_conditioning", False)),
        )
    except KeyError as error:
        raise StepimpError(f"its config.model has no field {error}.") from error


def averaged(ema: dict, names: list[str], state: dict, of_noise: int) -> dict:
    """The EMA weights by name: `shadow_params` has no names, only the order of the parameters, the
    backbone's first and then up to `of_noise` of the noise schedule.
    """
    shadow = list(ema["shadow_params"]) if isinstance(ema, dict) and "shadow_params" in ema else []
    expected = range(len(names), len(names) + of_noise + 1)
    if len(shadow) not in expected or not all(map(torch.is_tensor, shadow)):
        raise StepimpError(
            f"its ema.shadow_params holds {len(shadow)} tensors for {len(names)} parameters."
        )
    for name, average in zip(names, shadow):
        if average.shape != state[name].shape:
            raise StepimpError(
                f"its ema.shadow_params are in another order: {name} has shape "
                f"{tuple(state[name].shape)} and its average {tuple(average.shape)}."
            )
    buffers = {name: tensor for name, tensor in state.items() if name.endswith(BUFFER)}
    return buffers | dict(zip(names, shadow))
