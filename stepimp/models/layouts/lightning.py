"""A Lightning `.ckpt` of the MDLM repository: EMA weights, config and tokenizer's name in a pickle.

Nothing of the pickle is executed; `hyper_parameters` is read as inert data.
"""

import re
from pathlib import Path

from stepimp.errors import StepimpError
from stepimp.models.inert_pickle import StoredTensor, load_inert, plain
from stepimp.models.layouts.layout import CAUSAL, UNIFORM, Layout, refuse_more_blocks_than_tensors
from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.models.mdlm_config import MDLMConfig
from stepimp.models.strict import check_tensors, empty_model
from stepimp.models.weights import StoredWeights

PREFIXES = re.compile(r"(^module\.)|(_orig_mod\.)|((?<=\.)module\.)")
EMBEDDING = "backbone.vocab_embed.embedding"
# Reasons for what the repository and its successors train beside MDLM.
REASONS = {
    "duo": UNIFORM,
    "duo_base": UNIFORM,
    "udlm": UNIFORM,
    "uniform": UNIFORM,
    "sedd": "it predicts ratios of probabilities (SEDD), not the clean token",
    "ar": CAUSAL,
    "d3pm": "it carries no unmasked tokens over (D3PM parameterisation)",
    "bd3lm": "it denoises block after block (semi-autoregressive)",
}
# The only values with which the model is the MDLM that loads; a field may also be absent.
# `subs_masking` may be anything: MDLM's `subs` does not read it.
ALLOWED = {
    "name": "mdlm",
    "parameterization": "subs",
    "diffusion": "absorbing_state",
    "backbone": "dit",
    "causal_attention": False,
    "T": 0,
}


def read(file: Path) -> tuple[Layout, StoredWeights]:
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
    if not isinstance(saved, dict) or not all(
        isinstance(name, str) and isinstance(tensor, StoredTensor) for name, tensor in saved.items()
    ):
        raise StepimpError("its state_dict is not a dict of tensors.")
    state = {PREFIXES.sub("", name): tensor for name, tensor in saved.items()}
    state = {name: tensor for name, tensor in state.items() if name.startswith("backbone.")}
    if EMBEDDING not in state or len(state[EMBEDDING].shape) != 2:
        raise StepimpError(f"its state_dict has no matrix {EMBEDDING}.")
    native = mdlm_config(config, state[EMBEDDING].shape[0])
    layout = Layout(
        "MDLM (Lightning)",
        MDLMForMaskedLM,
        native,
        noise=native.noise,
        max_length=native.model_length,
        tokenizer=tokenizer_name(config),
    )
    of_noise = sum(name.startswith("noise.") for name in saved)
    return layout, StoredWeights(averaged(content["ema"], layout, state, of_noise))


def part(config: dict, name: str) -> dict:
    """A part of the config, empty where it is absent."""
    value = config.get(name)
    if value is not None and not isinstance(value, dict):
        raise StepimpError(f"its config has a part {name!r} that is not a mapping: {value!r:.50}.")
    return value or {}


def tokenizer_name(config: dict) -> str:
    """The tokenizer's name or path. Raises StepimpError for anything but a string."""
    name = part(config, "data").get("tokenizer_name_or_path", "gpt2")
    if not isinstance(name, str):
        raise StepimpError(f"its config names the tokenizer {name!r:.50}, which is not a name.")
    return name


def check(config: dict):
    """Raises StepimpError for everything that is not known to be an MDLM."""
    algorithm = part(config, "algo")
    for where, fields in (("", config), ("algo.", algorithm)):
        for name, allowed in ALLOWED.items():
            value = fields.get(name)
            if value is None or value == allowed or (where, name) == ("", "name"):
                continue
            if isinstance(value, str) and value in REASONS:
                raise StepimpError(f"{REASONS[value]} ({where}{name} is {value!r}).")
            raise StepimpError(
                f"its config has {where}{name} = {value!r:.50}; of MDLM's, {allowed!r} loads."
            )
    noise = part(config, "noise")
    kind = noise.get("type", noise.get("_target_", "loglinear"))
    if kind not in ("loglinear", "log-linear"):
        raise StepimpError(f"its noise schedule is {kind!r:.50}; of MDLM's, loglinear loads.")
    if config["model"].get("tie_word_embeddings"):
        raise StepimpError("its embedding is tied to its output layer, which MDLM's is not.")


def time_conditioning(config: dict) -> bool:
    """Whether the config, or its algorithm as later versions of the trainer write it, has time
    conditioning.
    """
    places = {"time_conditioning": config, "algo.time_conditioning": part(config, "algo")}
    values = {
        name: fields["time_conditioning"]
        for name, fields in places.items()
        if fields.get("time_conditioning") is not None
    }
    if not all(isinstance(value, bool) for value in values.values()):
        raise StepimpError(f"its time_conditioning is neither true nor false: {values!r:.80}.")
    if len(set(values.values())) > 1:
        raise StepimpError(f"its config contradicts itself: {values!r:.80}.")
    return next(iter(values.values()), False)


def mdlm_config(config: dict, rows: int) -> MDLMConfig:
    """The shape of the model. rows: of its embedding. Raises StepimpError for a missing field."""
    shape = config["model"]
    for name in ("length", "hidden_size", "cond_dim", "n_blocks", "n_heads"):
        if name not in shape:
            raise StepimpError(f"its config.model has no field {name!r}.")
        if type(shape[name]) is not int or shape[name] < 1:
            raise StepimpError(f"its config.model has {name} = {shape[name]!r:.50}, not a number.")
    return MDLMConfig(
        vocab_size=rows,
        model_length=shape["length"],
        hidden_dim=shape["hidden_size"],
        cond_dim=shape["cond_dim"],
        n_blocks=shape["n_blocks"],
        n_heads=shape["n_heads"],
        time_conditioning=time_conditioning(config),
    )


def averaged(ema, layout: Layout, state: dict, of_noise: int) -> dict[str, StoredTensor]:
    """The EMA weights by name: `shadow_params` has no names, only the order of the parameters in
    the model, the backbone's first and then up to `of_noise` of the noise schedule.
    """
    refuse_more_blocks_than_tensors(layout, StoredWeights(state).shapes)
    model = empty_model(layout, "eager")
    check_tensors(model, layout, StoredWeights(state))
    names = [name for name, _ in model.named_parameters()]
    shadow = ema.get("shadow_params") if isinstance(ema, dict) else None
    shadow = shadow if isinstance(shadow, list) else []
    expected = range(len(names), len(names) + of_noise + 1)
    if len(shadow) not in expected or not all(isinstance(t, StoredTensor) for t in shadow):
        raise StepimpError(
            f"its ema.shadow_params holds {len(shadow)} entries for the {len(names)} parameters "
            "of the model, or not tensors alone."
        )
    for name, average in zip(names, shadow):
        if average.shape != state[name].shape:
            raise StepimpError(
                f"its ema.shadow_params are in another order: {name} has shape "
                f"{state[name].shape} and its average {average.shape}."
            )
    buffers = {name: tensor for name, tensor in state.items() if name not in names}
    return buffers | dict(zip(names, shadow))
