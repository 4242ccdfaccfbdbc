"""A Lightning checkpoint with the structure of the public MDLM trainer's, without its packages."""

import pickle
import sys
import types
from contextlib import contextmanager

import torch

MODULES = ("omegaconf", "omegaconf.dictconfig", "omegaconf.nodes", "made_up_tokenizers")


@contextmanager
def foreign_classes():
    """DictConfig, AnyNode and a tokenizer as classes that can be imported, so that they pickle."""

    class Node:
        def __getstate__(self):
            return dict(self.__dict__)

    made = {}
    for name, module in [
        ("DictConfig", "omegaconf.dictconfig"),
        ("AnyNode", "omegaconf.nodes"),
        ("Tokenizer", "made_up_tokenizers"),
    ]:
        made[name] = type(name, (Node,), {"__module__": module})
    for module in MODULES:
        sys.modules[module] = types.ModuleType(module)
    for made_class in made.values():
        setattr(sys.modules[made_class.__module__], made_class.__name__, made_class)
    try:
        yield made
    finally:
        for module in MODULES:
            del sys.modules[module]


def node(classes, value):
    """A value as OmegaConf nodes: containers keep them in `_content`, leaves in `_val`."""
    if isinstance(value, dict):
        made = classes["DictConfig"]()
        made._content = {key: node(classes, item) for key, item in value.items()}
    else:
        made = classes["AnyNode"]()
        made._val = value
    made._metadata = made._parent = None
    return made


def shape_of(config) -> dict:
    return dict(
        hidden_size=config.hidden_dim,
        cond_dim=config.cond_dim,
        length=config.model_length,
        n_blocks=config.n_blocks,
        n_heads=config.n_heads,
        dropout=config.dropout,
    )


def write(file, model, average, prefix="", changes=(), content=()):
    """model: its weights go to `state_dict`; average: to the EMA's `shadow_params`.

    changes: to the config; content: to the whole checkpoint.
    """
    config = {
        "model": shape_of(model.config),
        "time_conditioning": False,
        "noise": {"type": "loglinear"},
        "parameterization": "subs",
        "backbone": "dit",
        "data": {"tokenizer_name_or_path": "gpt2"},
        **dict(changes),
    }
    state = {
        name.replace("backbone.", f"backbone.{prefix}", 1): tensor.clone()
        for name, tensor in model.state_dict().items()
    }
    shadow = [parameter.detach().clone() for parameter in average.backbone.parameters()]
    with foreign_classes() as classes:
        tokenizer = classes["Tokenizer"]()
        tokenizer.vocabulary = b"anything"
        whole = {
            "epoch": 1,
            "state_dict": state | {"train_metrics.mean_value": torch.zeros(())},
            "ema": {"decay": 0.9999, "num_updates": 10, "shadow_params": shadow},
            "hyper_parameters": {"config": node(classes, config), "tokenizer": tokenizer},
            **dict(content),
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(whole, file, pickle_module=pickle)
    return str(file)
