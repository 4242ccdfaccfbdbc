"""What a checkpoint layout says of itself."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from stepimp.errors import StepimpError

Shapes = Mapping[str, tuple[int, ...]]
# Of a config.json, what belongs to the published class and not to the native one.
FOREIGN_FIELDS = (
    "architectures",
    "auto_map",
    "model_type",
    "torch_dtype",
    "dtype",
    "transformers_version",
    "_name_or_path",
)


def whole(native: str, stored: torch.Tensor) -> torch.Tensor:
    return stored


@dataclass(frozen=True)
class Layout:
    """A checkpoint as a native model: the class, its config, and where each tensor lies."""

    name: str
    """As messages and docs name it."""
    model: type[PreTrainedModel]
    """A masked or causal language model of transformers, or MDLMForMaskedLM."""
    config: Any
    keys: tuple[tuple[str, str], ...] = ()
    """Replacements, applied in order, that turn a native tensor's name into the stored one."""
    part: Callable[[str, torch.Tensor], torch.Tensor] = whole
    """(native name, stored tensor) -> native tensor, where one stored tensor holds several."""
    left_out: tuple[str, ...] = ()
    """Patterns of stored tensors that belong to no denoiser: heads of other tasks, buffers."""
    mask_id: int | None = None
    """As the config has it; None leaves it to the tokenizer."""
    shift: int = 0
    noise: str = "linear"
    max_length: int = 0
    special_tokens: bool = False
    """Whether sequences are framed by the tokenizer's special tokens, such as CLS and SEP."""
    trained_masking: float = 1.0
    tokenizer: str | None = None
    """Hub id of the tokenizer where none lies beside the weights."""
    tokenizer_classes: tuple[str, ...] = ("AutoTokenizer",)
    """Classes of transformers to open the tokenizer with, in this order: one that is published with
    code of its own needs a native class, since that code is never run.
    """

    def stored_name(self, native: str) -> str:
        for ours, theirs in self.keys:
            native = native.replace(ours, theirs)
        return native

    def skips(self, stored: str) -> bool:
        return any(re.search(pattern, stored) for pattern in self.left_out)

    @property
    def mdlm(self) -> bool:
        """Whether the model follows the protocol by itself."""
        return self.config.model_type == "mdlm"


def native_fields(config: dict) -> dict:
    """The fields of a published config.json that the native config class shares."""
    return {key: value for key, value in config.items() if key not in FOREIGN_FIELDS}


def field_of(config: dict, name: str):
    """A field that a config.json must have."""
    if config.get(name) is None:
        raise StepimpError(f"its config.json has no field {name!r}.")
    return config[name]


def rope(theta: float) -> dict:
    """Rotary position embedding of a base, as transformers' configs take it."""
    return {"rope_type": "default", "rope_theta": float(theta)}


def refuse_scaled_rope(config: dict):
    if config.get("rope_scaling"):
        raise StepimpError("its rotary embedding is scaled (rope_scaling), which is not supported.")


def count(shapes: Shapes, pattern: str) -> int:
    """Numbered layers: how many different numbers the first group of `pattern` takes."""
    return len({match[1] for name in shapes if (match := re.search(pattern, name))})


def parameters(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())
