"""Reads a torch checkpoint that pickles arbitrary objects, without ever executing one.

A pickle names classes and functions and calls them. Here each name that is not on a short list of
torch's own is read as `Inert`, which only remembers what it was given. `torch.load` is given this
module in place of `pickle`.
"""

import pickle
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from stepimp.errors import StepimpError
from stepimp.models.headers import refuse_pointer

ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
}
# What torch and pickle document for a damaged file.
DAMAGED = (
    RuntimeError,
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    TypeError,
    ValueError,
    KeyError,
    IndexError,
)


def first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class Inert(dict):
    """An object of a class that was not imported: its arguments, its state and its items."""

    name = "unknown"
    arguments: tuple
    state: Any
    listed: list

    def __new__(cls, *arguments, **_):
        made = super().__new__(cls)
        made.arguments, made.state, made.listed = arguments, None, []
        return made

    def __init__(self, *_, **__):
        super().__init__()

    def __setstate__(self, state):
        self.state = state

    def append(self, item):
        self.listed.append(item)

    def extend(self, items):
        self.listed.extend(items)

    def add(self, item):
        self.listed.append(item)


class Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        allowed = ALLOWED.get((module, name))
        # A dict cannot be hashed, but the object may be a key or in a set.
        members = {"name": f"{module}.{name}", "__hash__": object.__hash__}
        return allowed or type(name.rpartition(".")[2], (Inert,), members)


def load_inert(file: Path) -> dict:
    """The dict that `torch.save` wrote, its tensors on the CPU and mapped from the file.

    Raises StepimpError for anything but a torch zip file that holds a dict.
    """
    refuse_pointer(file)
    try:
        names = zipfile.ZipFile(file).namelist()
    except zipfile.BadZipFile as error:
        raise StepimpError(
            f"{file} is truncated or not a torch checkpoint (a zip file)."
        ) from error
    if any(name.endswith("constants.pkl") for name in names):  # torch.load would run it
        raise StepimpError(f"{file} is a TorchScript program, and stepimp executes none.")
    try:
        content = torch.load(
            file,
            map_location="cpu",
            pickle_module=sys.modules[__name__],
            weights_only=False,
            mmap=True,
        )
    except DAMAGED as error:
        raise StepimpError(f"{file} is truncated or damaged: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise StepimpError(f"{file} holds a {type(content).__name__}, not a checkpoint's dict.")
    return content


def plain(value):
    """Nested dicts, lists and scalars out of inert OmegaConf nodes; other objects as they are.

    A container keeps its nodes in `_content`, a node its value in `_val`.
    """
    if isinstance(value, Inert):
        state = value.state if isinstance(value.state, dict) else {}
        for field in ("_content", "_val"):
            if field in state:
                return plain(state[field])
        return value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
