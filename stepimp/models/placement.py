"""Where a model runs: device, attention implementation, and whether its weights fit."""

import torch

from stepimp.errors import StepimpError
from stepimp.memory import free_memory

GIGABYTE = 1e9


def pick_device(device: str) -> torch.device:
    """The device of this name; auto is CUDA where it is available. Raises StepimpError where there
    is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in ("cpu", "cuda"):
        raise StepimpError(f"Unknown device {device!r}: use auto, cpu, cuda or cuda:N.")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise StepimpError(
            f"Device {device!r}: this machine's torch sees no CUDA device. Use the device cpu."
        )
    if chosen.type == "cuda" and (chosen.index or 0) >= (count := torch.cuda.device_count()):
        raise StepimpError(f"Device {device!r}: there are cuda:0 to cuda:{count - 1}.")
    return chosen


def pick_attention(attn: str, device: torch.device, dtype: torch.dtype) -> str:
    """`auto` is flash-attn where it is installed and can run, else sdpa; a missing package is an
    error.
    """
    from transformers import AttentionInterface
    from transformers.utils import is_flash_attn_2_available

    usable = device.type == "cuda" and dtype in (torch.float16, torch.bfloat16)
    if attn == "auto":
        return "flash_attention_2" if usable and is_flash_attn_2_available() else "sdpa"
    if attn != "eager" and attn not in AttentionInterface().valid_keys():
        raise StepimpError(
            f"Unknown attention {attn!r}: use auto, eager, sdpa, flash_attention_2 or "
            "flash_attention_4."
        )
    if attn.startswith("flash") and not usable:
        raise StepimpError(
            f"{attn} needs a CUDA device and bfloat16 or float16. Use the attention sdpa."
        )
    return attn


def free_bytes(device: torch.device) -> int | None:
    """Memory that a new model can take; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_memory() if device.type == "cpu" else None


def require_memory(needed: dict[str, int], device: torch.device, dtype: torch.dtype):
    """Raises StepimpError, before anything is loaded, where the models do not fit together.

    needed: model name -> bytes of its weights in this dtype.
    """
    free, total = free_bytes(device), sum(needed.values())
    if free is None or total <= free:
        return
    sizes = ", ".join(f"{name} {size / GIGABYTE:.1f} GB" for name, size in needed.items())
    half = " bfloat16 takes half of it." if dtype.itemsize == 4 else ""
    raise StepimpError(
        f"The models need {total / GIGABYTE:.1f} GB on {device} ({sizes}) and "
        f"{free / GIGABYTE:.1f} GB are free: {(total - free) / GIGABYTE:.1f} GB are missing.{half}"
    )
