"""What a checkpoint layout says of itself."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedModel

from stepimp.errors import StepimpError
from stepimp.noise import NoiseSchedule

Shapes = Mapping[str, tuple[int, ...]]
# What configs and models of transformers raise for values of a wrong type or size.
NO_MODEL = (
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    StrictDataclassError,
)
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

NUMBERS = (int, float)
# type of a default: what a config.json may have in its place
KINDS: dict[type, Any] = {bool: bool, int: int, float: NUMBERS, str: str}
WRAPPERS = ("_orig_mod.", "module.")  # of torch.compile and of distributed training
# Reasons for which a model is refused.
UNIFORM = "its corruption replaces tokens by random ones (uniform state); there is no mask token"
CAUSAL = "it is autoregressive and reads from left to right"


def is_int(value) -> bool:
    """Whether a value is an integer; true and false are not."""
    return type(value) is int


def whole(native: str, stored: torch.Tensor) -> torch.Tensor:
    """The stored tensor itself."""
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
    max_length: int = 1
    special_tokens: bool = False
    """Whether sequences are framed by the tokenizer's special tokens, such as CLS and SEP."""
    trained_masking: float = 1.0
    tokenizer: str | None = None
    """Hub id of the tokenizer where none lies beside the weights."""
    tokenizer_classes: tuple[str, ...] = ("AutoTokenizer",)
    """Classes of transformers to open the tokenizer with, in this order: one that is published with
    code of its own needs a native class, since that code is never run.
    """

    def __post_init__(self):
        """Raises StepimpError for a value that the denoiser could not be used with."""
        checks = {
            "name": isinstance(self.name, str),
            "mask_id": self.mask_id is None or (is_int(self.mask_id)),
            "shift": is_int(self.shift) and self.shift in (0, 1),
            "noise": isinstance(self.noise, str),
            "config.vocab_size": is_int(getattr(self.config, "vocab_size", None)),
            "max_length": is_int(self.max_length) and self.max_length >= 1,
            "special_tokens": isinstance(self.special_tokens, bool),
            "trained_masking": type(self.trained_masking) in (int, float)
            and 0 < self.trained_masking <= 1,
        }
        for name, valid in checks.items():
            if not valid:
                raise describes_no_model(f"{name} is {attrgetter(name)(self)!r:.50}")
        NoiseSchedule(self.noise)

    def stored_name(self, native: str) -> str:
        """The stored name of a native model's tensor."""
        for ours, theirs in self.keys:
            native = native.replace(ours, theirs)
        return native

    def skips(self, stored: str) -> bool:
        """Whether a stored tensor belongs to no denoiser."""
        return any(re.search(pattern, stored) for pattern in self.left_out)

    @property
    def mdlm(self) -> bool:
        """Whether the model follows the protocol by itself."""
        return self.config.model_type == "mdlm"


def native_fields(config: dict) -> dict:
    """The fields of a published config.json that the native config class shares."""
    return {key: value for key, value in config.items() if key not in FOREIGN_FIELDS}


def describes_no_model(reason) -> StepimpError:
    """The error for a config.json whose values no model takes."""
    text = " ".join(str(reason).split()) or type(reason).__name__
    return StepimpError(f"its config.json describes no model that stepimp loads: {text:.300}")


def field_of(config: dict, name: str):
    """A field that a config.json must have."""
    if config.get(name) is None:
        raise StepimpError(f"its config.json has no field {name!r}.")
    return config[name]


def rope(theta: float) -> dict:
    """Rotary position embedding of a base, as transformers' configs take it."""
    return {"rope_type": "default", "rope_theta": float(theta)}


def rope_of(config: dict, theta: float) -> dict:
    """The rotary position embedding of a config.json, of base `theta` where it does not say.

    Newer versions of transformers write `rope_parameters` in place of `rope_theta` and
    `rope_scaling`. Raises StepimpError for one that is scaled.
    """
    written = config.get("rope_parameters") or {}
    if config.get("rope_scaling") or written.get("rope_type", "default") != "default":
        raise StepimpError("its rotary embedding is scaled (rope_scaling), which is not supported.")
    bases = (written.get("rope_theta"), config.get("rope_theta"), theta)
    return rope(next(base for base in bases if base is not None))


def check_types(fields: dict, config) -> None:
    """Raises StepimpError for a field of a config.json whose value has another type than the
    default of the native config has. Null is left to the model; a token may be a list of tokens.
    """
    defaults = vars(type(config)())
    for name, value in fields.items():
        default = defaults.get(getattr(config, "attribute_map", {}).get(name, name))
        kinds = KINDS.get(type(default), object)
        if value is None or name.endswith("token_id") and isinstance(value, list):
            continue
        infinite = isinstance(value, float) and not math.isfinite(value)
        flag = isinstance(value, bool) and type(default) in NUMBERS
        if infinite or flag or not isinstance(value, kinds):
            raise describes_no_model(f"{name} is {value!r:.50}")


def refuse_more_blocks_than_tensors(layout: Layout, shapes: Shapes):
    """Before a model is built that would be larger than any memory."""
    blocks = layout.config.num_hidden_layers
    if not is_int(blocks) or not 0 < blocks <= len(shapes):
        raise describes_no_model(f"it has {blocks!r:.50} blocks in {len(shapes)} tensors")


def count(shapes: Shapes, pattern: str) -> int:
    """Numbered layers: how many different numbers the first group of `pattern` takes."""
    return len({match[1] for name in shapes if (match := re.search(pattern, name))})
