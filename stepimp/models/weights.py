"""Stored tensors by name, whatever file they lie in; shapes are known before a tensor is read."""

import pickle
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from stepimp.errors import StepimpError, first_line
from stepimp.models.headers import read_header, refuse_pointer, safetensors_files, shards
from stepimp.models.inert_pickle import DAMAGED, StoredTensor, load_inert

MORE = (
    "is a pickle of more than a dict of tensors, and stepimp executes none: "
    "convert it to safetensors."
)
PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"


class Weights(Mapping[str, torch.Tensor]):
    """Tensors on the CPU, read when they are asked for. `shapes`: {name: shape} of all of them."""

    shapes: dict[str, tuple[int, ...]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


class TensorWeights(Weights):
    """Tensors that are in memory already, or mapped into it."""

    def __init__(self, tensors: dict[str, torch.Tensor]):
        self.tensors = tensors
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]


class StoredWeights(Weights):
    """Tensors of a file that `torch.save` wrote, read without torch."""

    def __init__(self, tensors: dict[str, StoredTensor]):
        self.tensors = tensors
        self.shapes = {name: tensor.shape for name, tensor in tensors.items()}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name].read()


class JoinedWeights(Weights):
    """The tensors of several files."""

    def __init__(self, parts: list[Weights]):
        self.parts = {name: part for part in parts for name in part}
        self.shapes = {name: shape for part in parts for name, shape in part.shapes.items()}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.parts[name][name]


class SafetensorsWeights(Weights):
    """Tensors in safetensors files, each read on its own."""

    def __init__(self, files: list[Path]):
        self.files: dict[str, Path] = {}
        self.shapes = {}
        for file in files:
            shapes = read_header(file)
            self.files |= dict.fromkeys(shapes, file)
            self.shapes |= shapes

    def __getitem__(self, name: str) -> torch.Tensor:
        try:
            with safe_open(self.files[name], framework="pt") as opened:
                return opened.get_tensor(name)
        except SafetensorError as error:
            raise StepimpError(f"{self.files[name]} is damaged: {error}.") from error


def pickled_weights(file: Path) -> Weights:
    """The tensors of a `pytorch_model.bin`, which may hold nothing else."""
    refuse_pointer(file)
    with file.open("rb") as stream:
        is_zip = stream.read(4) == b"PK\x03\x04"
    content = load_inert(file) if is_zip else legacy_content(file)
    kind = StoredTensor if is_zip else torch.Tensor
    if not isinstance(content, dict) or not all(isinstance(v, kind) for v in content.values()):
        raise StepimpError(f"{file} {MORE}")
    return StoredWeights(content) if is_zip else TensorWeights(content)


def legacy_content(file: Path):
    """What torch read and wrote before it wrote zip files; only its own allow-list is built."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise StepimpError(f"{file} {MORE}") from error
    except DAMAGED as error:
        raise StepimpError(f"{file} is truncated or damaged: {first_line(error)}") from error


def open_weights(folder: Path) -> Weights:
    """The weights of a Hugging Face model folder: safetensors, else pickled tensors.

    Raises StepimpError where there are none, or one of the files is missing or damaged.
    """
    if files := safetensors_files(folder):
        return SafetensorsWeights(files)
    index = folder / PICKLE_INDEX
    names = shards(index) if index.exists() else [PICKLE]
    parts = []
    for name in names:
        if not (folder / name).exists():
            raise StepimpError(f"{folder} holds no weights: there is no model.safetensors.")
        parts.append(pickled_weights(folder / name))
    return JoinedWeights(parts)


def save_model(model, folder: Path):
    """Writes config.json and safetensors of a transformers model into a folder.

    Of safetensors 0.8 their owner alone could read them: they get the mode of any new file.
    """
    model.save_pretrained(folder)
    for file in safetensors_files(folder):
        with suppress(OSError):  # a file system without modes
            file.chmod((folder / "config.json").stat().st_mode)
