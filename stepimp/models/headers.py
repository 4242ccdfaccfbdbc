"""Names, dtypes and shapes of stored tensors, read from safetensors headers without torch."""

import math
import struct
from pathlib import Path
from typing import TypedDict

from stepimp.checks import fault, parsed
from stepimp.errors import StepimpError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
LFS = b"version https://git-lfs"
MOST_HEADER_BYTES = 100_000_000  # what the format allows


class Entry(TypedDict):
    """What a safetensors header says of a tensor."""

    dtype: str
    shape: list[int]
    data_offsets: list[int]


def refuse_pointer(file: Path):
    """Raises StepimpError where Git LFS has left its pointer in place of the file."""
    with file.open("rb") as stream:
        if stream.read(len(LFS)) == LFS:
            raise StepimpError(
                f"{file} is a Git LFS pointer, not the file itself: run git lfs pull in its "
                "repository."
            )


def read_header(file: Path) -> dict[str, tuple[int, ...]]:
    """{tensor name: shape} of one safetensors file.

    Raises StepimpError for an LFS pointer and for a file that is truncated or not safetensors.
    """
    refuse_pointer(file)
    size = file.stat().st_size
    with file.open("rb") as stream:
        first = stream.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else MOST_HEADER_BYTES
        if 8 + length > size or length >= MOST_HEADER_BYTES:
            raise StepimpError(
                f"{file} is truncated or not a safetensors file ({size:,} bytes): fetch it again."
            )
        try:
            header = parsed(stream.read(length))
            if isinstance(header, dict):
                header.pop("__metadata__", None)
            wrong = fault(header, dict[str, Entry])
        except ValueError as error:
            wrong = str(error)
        if wrong:
            raise StepimpError(f"{file} has no valid safetensors header: {wrong}.")
        ends = (max(entry["data_offsets"], default=0) for entry in header.values())
        end = 8 + length + max(ends, default=0)
        shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
    if size != end:
        raise StepimpError(
            f"{file} is truncated: it has {size:,} of {end:,} bytes. Fetch it again."
        )
    return shapes


class Index(TypedDict):
    """The content of an index of shards."""

    weight_map: dict[str, str]


def shards(index: Path) -> list[str]:
    """The files that an index of weights names. Raises StepimpError for a damaged one."""
    refuse_pointer(index)
    try:
        content = parsed(index.read_bytes(), names=True)
        wrong = fault(content, Index)
    except ValueError as error:
        wrong = str(error)
    names = [] if wrong else sorted(set(content["weight_map"].values()))
    if outside := [name for name in names if name != Path(name).name]:
        wrong = f"{outside[0]!r} is not a file beside it"
    if wrong:
        raise StepimpError(f"{index} is damaged: {wrong}.")
    return names


def safetensors_files(folder: Path) -> list[Path]:
    """The shards of a model folder, or its single file; empty where it has no safetensors.

    Raises StepimpError for a damaged index and for a shard that is missing.
    """
    index = folder / INDEX
    if not index.exists():
        return [file] if (file := folder / SINGLE).exists() else []
    names = shards(index)
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise StepimpError(
            f"{folder} lacks {missing[0]} ({len(missing)} of {len(names)} shards are missing)."
        )
    return [folder / name for name in names]


def count_parameters(folder: Path) -> int | None:
    """Parameters stored in a model folder of the MDLM layout; None where there is no header."""
    files = safetensors_files(folder) if folder.is_dir() else []
    shapes = [shape for file in files for shape in read_header(file).items()]
    counted = [math.prod(shape) for name, shape in shapes if not name.endswith("inv_freq")]
    return sum(counted) if files else None
