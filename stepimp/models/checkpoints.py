"""The front door: from a path or hub id to a denoiser, whatever layout the checkpoint has."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from stepimp.checks import parsed
from stepimp.errors import StepimpError, first_line
from stepimp.kernels.blocks import EXCLUDED
from stepimp.models.denoiser import Denoiser
from stepimp.models.family import HUB_FILE, HUB_ID
from stepimp.models.fused import runs_fused
from stepimp.models.headers import refuse_pointer
from stepimp.models.layers import rope_frequencies
from stepimp.models.layouts import lightning
from stepimp.models.layouts.detect import detect
from stepimp.models.layouts.layout import Layout
from stepimp.models.native import NativeDenoiser
from stepimp.models.placement import pick_attention, pick_device, require_memory
from stepimp.models.strict import check_tensors, empty_model, fill
from stepimp.models.tokenizers import load_tokenizer, quiet_transformers
from stepimp.models.vocabulary import vocabulary
from stepimp.models.weights import SafetensorsWeights, Weights, open_weights

TEXT_FILES = ["*.json", "*.txt", "*.model"]
BARE = (".safetensors", ".ckpt")
UNREACHABLE = (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose layout is known and whose tensors have been named, but not read."""

    path: str
    place: Path
    layout: Layout
    weights: Weights

    def tokenizer(self):
        """The tokenizer beside the weights, else the one that the layout names."""
        layout = self.layout
        return load_tokenizer(self.path, layout.tokenizer, layout.tokenizer_classes)

    @property
    def parameters(self) -> int:
        """Parameters of the model, without what is tied or left out."""
        names = dict(empty_model(self.layout, "eager").named_parameters())
        return sum(parameter.numel() for parameter in names.values())

    def bytes(self, dtype: torch.dtype, device: torch.device) -> int:
        """Memory of the weights; on a CPU the head's are fp32 or wider."""
        shapes = [s for name, s in self.weights.shapes.items() if not self.layout.skips(name)]
        total = sum(math.prod(shape) for shape in shapes) * dtype.itemsize
        if device.type == "cpu" and dtype.itemsize < 4:
            total += self.layout.config.vocab_size * self.layout.config.hidden_size * 4
        return total


def fingerprint(model: torch.nn.Module) -> str:
    """12 hex digits of the parameters' names and float32 values: equal weights have equal
    fingerprints.
    """
    state = hashlib.sha256()
    for name, tensor in sorted(model.named_parameters()):
        state.update(name.encode())
        state.update(tensor.detach().float().cpu().contiguous().numpy().data)
    return state.hexdigest()[:12]


def local_place(path: str) -> Path:
    """The folder or file of a checkpoint on this machine, fetched where it is a hub id."""
    place = Path(path).expanduser()
    if place.exists():
        return place
    if place.is_symlink():
        raise StepimpError(f"{path} is a link to {place.readlink()}, and nothing is there.")
    if place.is_absolute() or not (HUB_ID.fullmatch(path) or HUB_FILE.fullmatch(path)):
        raise StepimpError(f"{path} is not a checkpoint: there is no such folder.")
    from stepimp.text.hub import offline_unless_reachable

    offline_unless_reachable()
    try:
        if match := HUB_FILE.fullmatch(path):
            return Path(hf_hub_download(match[1], match[2]))
        fetched = Path(snapshot_download(path, allow_patterns=[*TEXT_FILES, "*.safetensors"]))
        if not list(fetched.glob("*.safetensors")):
            snapshot_download(path, allow_patterns=[*TEXT_FILES, "pytorch_model*.bin"])
        return fetched
    except UNREACHABLE as error:
        raise StepimpError(
            f"Cannot load {path} as a checkpoint: there is no such folder, "
            f"and as a hub id: {first_line(error)}"
        ) from error


def open_checkpoint(path: str) -> Checkpoint:
    """Finds out what a checkpoint is, from its config.json and the names of its tensors.

    path: a Hugging Face folder or hub id, a `.ckpt` of MDLM's trainer, or a `.safetensors` file.
    Raises StepimpError for what is not a checkpoint, or not one of a masked diffusion model.
    """
    quiet_transformers()
    place = local_place(path)
    bare = place.is_file() and place.suffix in BARE
    weights: Weights
    if not bare and not (place / "config.json").is_file():
        raise StepimpError(
            f"{path} is not a checkpoint: it has no config.json. Give a Hugging Face model folder, "
            "a .ckpt or a .safetensors file."
        )
    try:
        if place.suffix == ".ckpt" and bare:
            layout, weights = lightning.read(place)
        else:
            weights = SafetensorsWeights([place]) if bare else open_weights(place)
            layout = detect({} if bare else read_config(place), weights.shapes)
    except StepimpError as error:
        raise StepimpError(f"Cannot load {path} as a checkpoint: {error}") from error
    return Checkpoint(path, place, layout, weights)


def fast_in_bf16(path: str) -> bool:
    """Whether this machine runs a checkpoint several times as fast in bf16 as in fp32."""
    layout = open_checkpoint(path).layout
    return torch.cuda.is_available() or (layout.mdlm and runs_fused(layout.config))


def read_config(folder: Path) -> dict:
    """The config.json of a model folder. Raises StepimpError where it is not a JSON object."""
    file = folder / "config.json"
    refuse_pointer(file)
    try:
        config = parsed(file.read_bytes(), names=True)
    except ValueError as error:
        raise StepimpError(f"{file} is not valid JSON: {error}.") from error
    if not isinstance(config, dict):
        raise StepimpError(f"{file} is not a JSON object.")
    return config


def load_checkpoint(
    checkpoint: str | Checkpoint, device="auto", dtype="float32", attn="auto", tokenizer=None
) -> Denoiser:
    """A denoiser ready for inference, from a path, a hub id or an opened checkpoint.

    tokenizer: says which ids exist and, where the config does not, which is the mask token.
    Raises StepimpError, naming the tensor, where one is missing, extra, mis-shaped, or holds NaN or
    Inf; and where the memory does not suffice, before anything is loaded.
    """
    device, dtype = pick_device(device), getattr(torch, dtype)
    attn = pick_attention(attn, device, dtype)
    if isinstance(checkpoint, str):
        checkpoint = open_checkpoint(checkpoint)
    path = checkpoint.path
    try:
        return build(checkpoint, device, dtype, attn, tokenizer)
    except ImportError as error:
        raise StepimpError(
            f"{attn} is not installed ({error}). Install it or use the attention sdpa."
        ) from error
    except StepimpError as error:
        raise StepimpError(f"Cannot load {path} as a checkpoint: {error}") from error


def build(checkpoint: Checkpoint, device, dtype, attn: str, tokenizer) -> Denoiser:
    """`load_checkpoint` of an opened checkpoint, on a device and in a dtype of torch."""
    layout, weights = checkpoint.layout, checkpoint.weights
    ids = vocabulary(layout, tokenizer)
    if layout.mdlm:
        layout.config.mask_token_id = ids.mask_id
    model = empty_model(layout, attn)
    check_tensors(model, layout, weights)
    require_memory({checkpoint.path: checkpoint.bytes(dtype, device)}, device, dtype)
    digest = fill(model, layout, weights, device, dtype)
    if not layout.mdlm:
        return NativeDenoiser(model, layout, ids, digest)
    rotary = model.backbone.rotary_emb
    expected = rope_frequencies(rotary.head_dim).float()
    if not torch.allclose(rotary.inv_freq.float().cpu(), expected, rtol=1e-2):
        raise StepimpError(
            "backbone.rotary_emb.inv_freq is not the rotary embedding of base 10000."
        )
    model.fingerprint = digest
    model.freeze()
    exclude(model.backbone.output_layer.linear, ids.unknown_ids)
    return model


def exclude(projection: torch.nn.Linear, ids: tuple[int, ...]):
    """Gives these ids no probability, by a bias in fp32 or wider."""
    if ids:
        bias = projection.bias.to(torch.promote_types(projection.bias.dtype, torch.float32))
        bias[torch.tensor(ids, device=bias.device)] = EXCLUDED
        projection.bias = torch.nn.Parameter(bias, requires_grad=False)
