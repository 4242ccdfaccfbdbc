"""Reads a torch checkpoint that pickles arbitrary objects, without ever executing one.

A pickle names classes and functions and calls them. Here each name is answered with a stand-in made
for this answer: `Inert`, which only remembers what it was given, or one of the few that build
dicts and descriptions of tensors. Nothing of torch's is handed out, and torch reads none of the
file.
"""

import io
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from stepimp.errors import StepimpError, first_line
from stepimp.models.torch_zip import Records

STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
# What torch and pickle raise for a damaged file.
DAMAGED = (
    RuntimeError,
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    MemoryError,
    AssertionError,
    SystemError,
    ImportError,
)

UNFINISHED = object()


class Inert(dict):
    """An object of a class that was not imported: its arguments, its state and its items."""

    name = "unknown"
    arguments: tuple
    state: Any
    listed: list

    def __new__(cls, *arguments, **_):
        inert = super().__new__(cls)
        inert.arguments, inert.state, inert.listed = arguments, None, []
        return inert

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


class Storage(NamedTuple):
    """A record of numbers. Immutable, so that a pickle cannot change it after it was checked."""

    records: Records
    record: str
    dtype: torch.dtype
    numel: int


class StoredTensor(NamedTuple):
    """Where a tensor lies in a file; immutable as `Storage`."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self) -> torch.Tensor:
        """The tensor, mapped from the file. Raises StepimpError for a wrong checksum."""
        flat = self.storage.records.tensor(self.storage.record, self.storage.dtype)
        return flat.as_strided(self.shape, self.stride, self.offset)


def rebuild_tensor(storage, offset, shape, stride, *_) -> StoredTensor | Inert:
    """Raises UnpicklingError for a tensor that does not lie inside its storage."""
    if not isinstance(storage, Storage):
        return Inert(storage)
    numbers = (offset, *shape, *stride)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise pickle.UnpicklingError("a tensor has a negative size or offset")
    if len(shape) != len(stride):
        raise pickle.UnpicklingError("a tensor has more sizes than strides, or fewer")
    end = offset + 1 + sum((size - 1) * step for size, step in zip(shape, stride))
    if 0 not in shape and end > storage.numel:
        raise pickle.UnpicklingError(f"a tensor ends after its record {storage.record}")
    return StoredTensor(storage, offset, tuple(shape), tuple(stride))


class Unpickler(pickle.Unpickler):
    """Unpickles without importing anything that the pickle names."""

    def __init__(self, data: bytes, records: Records):
        super().__init__(io.BytesIO(data))
        self.records = records

    def find_class(self, module: str, name: str):
        """A stand-in, a new one each time: a pickle can write into what it is given."""
        full = f"{module}.{name}"
        if full == "collections.OrderedDict":
            return type("OrderedDict", (OrderedDict,), {})
        if full == "torch._utils._rebuild_tensor_v2":
            return lambda *arguments: rebuild_tensor(*arguments)
        if full == "torch._utils._rebuild_parameter":
            return lambda tensor, *_: tensor
        if full == "torch.Size":
            return lambda sizes: tuple(sizes)
        # A dict cannot be hashed, but the object may be a key or in a set.
        members = {"name": full, "__hash__": object.__hash__}
        return type("Inert", (Inert,), members)

    def persistent_load(self, pid) -> Storage | Inert:
        """pid: ("storage", class of the storage, key, device, number of elements)."""
        kind, storage, key, _, numel = pid
        if kind != "storage" or type(key) is not str or type(numel) is not int:
            raise pickle.UnpicklingError("a storage is described in an unknown way")
        name = getattr(storage, "name", None)
        if name not in STORAGES:
            return Inert(name)
        dtype, record = STORAGES[name], f"data/{key}"
        if self.records.size(record) != numel * dtype.itemsize:
            raise pickle.UnpicklingError(f"{record} does not hold {numel} elements of {dtype}")
        return Storage(self.records, record, dtype, numel)


def refuse_bombs(data: bytes):
    """Raises for lengths past the end and for memo indices that would fill the memory."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name.endswith("PUT") and int(argument or 0) > len(data):
            raise pickle.UnpicklingError("a memo index is larger than the pickle")


def load_inert(file: Path) -> dict:
    """The dict that `torch.save` wrote, with `StoredTensor` in place of tensors.

    Raises StepimpError for anything but a torch zip file that holds a dict.
    """
    records = Records(file)
    data = records.bytes("data.pkl")
    try:
        refuse_bombs(data)
        content = Unpickler(data, records).load()
    except DAMAGED as error:
        raise StepimpError(f"{file} is truncated or damaged: {first_line(error)}") from error
    if not isinstance(content, dict) or isinstance(content, Inert):
        kind = content.name if isinstance(content, Inert) else type(content).__name__
        raise StepimpError(f"{file} holds {kind}, not a checkpoint's dict.")
    return content


def plain(value):
    """Nested dicts, lists and scalars out of inert OmegaConf nodes; other objects as they are.

    A container keeps its nodes in `_content`, a node its value in `_val`. What is shared stays
    shared. Raises StepimpError for a container inside itself, or nested too deeply.
    """
    try:
        return plain_part(value, {})
    except RecursionError as error:
        raise StepimpError("its hyper_parameters are nested too deeply.") from error


def plain_part(value, done: dict[int, Any]):
    """done: {id of a container: its plain value}, UNFINISHED while it is being read."""
    if not isinstance(value, (dict, list, tuple)):
        return value
    if done.get(id(value)) is UNFINISHED:
        raise StepimpError("its hyper_parameters contain themselves.")
    if id(value) in done:
        return done[id(value)]
    done[id(value)] = UNFINISHED
    content: Any
    if isinstance(value, Inert):
        state = value.state if isinstance(value.state, dict) else {}
        field = next((name for name in ("_content", "_val") if name in state), None)
        content = value if field is None else plain_part(state[field], done)
    elif isinstance(value, dict):
        content = {key: plain_part(item, done) for key, item in value.items()}
    else:
        content = [plain_part(item, done) for item in value]
    done[id(value)] = content
    return content
