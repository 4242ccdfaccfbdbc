"""Strict loading: every tensor that a model has is filled, and every stored tensor is used."""

import hashlib

import torch
from accelerate import init_empty_weights
from torch import nn

from stepimp.errors import StepimpError
from stepimp.models.layouts.layout import NO_MODEL, WRAPPERS, Layout, describes_no_model
from stepimp.models.weights import Weights

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def empty_model(layout: Layout, attn: str) -> nn.Module:
    """The model without weights: parameters on the meta device, buffers computed.

    Raises StepimpError for a config that no model fits.
    """
    if attn == "sdpa" and not layout.model._supports_sdpa:
        attn = "eager"
    layout.config._attn_implementation = attn
    try:
        with init_empty_weights(include_buffers=False):
            return layout.model(layout.config)
    except NO_MODEL as error:
        raise describes_no_model(error) from error


def check_tensors(model: nn.Module, layout: Layout, weights: Weights):
    """Raises StepimpError that names one missing, one extra and one mis-shaped tensor."""
    tied, wanted = tied_names(model), model.state_dict()
    stored = {name: layout.stored_name(name) for name in wanted}
    missing = [s for name, s in stored.items() if s not in weights.shapes and name not in tied]
    used = set(stored.values())
    extra = [s for s in weights.shapes if s not in used and not layout.skips(s)]
    misshaped = [
        f"{stored[name]} has shape {weights.shapes[stored[name]]}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if stored[name] in weights.shapes
        and part_shape(layout, name, weights.shapes[stored[name]]) != tuple(tensor.shape)
    ]
    problems = [f"missing {name}" for name in missing[:1]] + [f"extra {name}" for name in extra[:1]]
    problems += misshaped[:1]
    if problems:
        counts = (len(missing), len(extra), len(misshaped))
        more = "" if sum(counts) == len(problems) else " ({} missing, {} extra, {} mis-shaped)"
        raise StepimpError("; ".join(problems) + more.format(*counts) + hint(weights, missing))


def part_shape(layout: Layout, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a native tensor that is part of a stored one."""
    return tuple(layout.part(name, torch.empty(shape, device="meta")).shape)


def hint(weights: Weights, missing: list[str]) -> str:
    """What would explain that nearly nothing was found."""
    for prefix in WRAPPERS:
        if missing and all(name.startswith(prefix) for name in weights.shapes):
            return f". All keys begin with `{prefix}`: remove it from the names"
    return ""


def tied_names(model: nn.Module) -> dict[str, str]:
    """{name: name of the tensor that it shares}."""
    return dict(getattr(model, "all_tied_weights_keys", None) or {})


@torch.no_grad()
def fill(
    model: nn.Module, layout: Layout, weights: Weights, device: torch.device, dtype: torch.dtype
) -> str:
    """Puts the weights into an empty model, one tensor after the other, and returns their
    fingerprint.

    Never holds more than one tensor beside the model itself. Raises StepimpError for NaN or Inf,
    and where two tensors that the model shares are stored with different values.
    """
    tied, digest = tied_names(model), hashlib.sha256()
    parameters = dict(model.named_parameters())
    for name in sorted(model.state_dict()):
        stored = layout.stored_name(name)
        if name in tied and stored not in weights.shapes:
            continue
        tensor = layout.part(name, weights[stored])
        if name in parameters and tensor.dtype not in FLOATS:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise StepimpError(
                f"{stored} is stored as {kind}: convert the weights to bfloat16 or float32"
            )
        if name in tied:
            if not torch.equal(
                tensor, layout.part(tied[name], stored_of(layout, weights, tied[name]))
            ):
                raise StepimpError(f"{stored} differs from the embedding that it is tied to")
            continue
        if not torch.isfinite(tensor).all():
            raise StepimpError(f"{stored} holds NaN or Inf. Load another checkpoint")
        if name in parameters:
            digest.update(name.encode())
            digest.update(tensor.float().contiguous().numpy().data)
        place(model, name, tensor, device, dtype)
    tie(model, tied)
    move_buffers(model, device)
    return digest.hexdigest()[:12]


def stored_of(layout: Layout, weights: Weights, name: str) -> torch.Tensor:
    """The stored tensor that holds a native one."""
    return weights[layout.stored_name(name)]


def place(model, name: str, tensor: torch.Tensor, device, dtype):
    """Puts a tensor into the model as the parameter or buffer of this name."""
    owner, attribute = owner_of(model, name)
    wanted = dtype if tensor.is_floating_point() else tensor.dtype
    # A copy in any case: the stored tensor may be mapped from its file, or part of another.
    tensor = tensor.to(device, wanted, copy=True).contiguous()
    if attribute in owner._parameters:
        owner._parameters[attribute] = nn.Parameter(tensor, requires_grad=False)
    else:
        owner._buffers[attribute] = tensor


def tie(model: nn.Module, tied: dict[str, str]):
    """Lets parameters share others. tied: as from `tied_names`."""
    for name, source in tied.items():
        owner, attribute = owner_of(model, name)
        setattr(owner, attribute, model.get_parameter(source))


def move_buffers(model: nn.Module, device: torch.device):
    """Moves all buffers to a device, those too that no checkpoint stores."""
    for module in model.modules():
        for key, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[key] = buffer.to(device)


def owner_of(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """(module, attribute) of a parameter or buffer."""
    path, _, attribute = name.rpartition(".")
    return model.get_submodule(path), attribute
