"""The protocol every model is used through, and strict loading of checkpoints that follow it."""

import hashlib
from pathlib import Path
from pickle import UnpicklingError

import torch

from stepimp.errors import StepimpError


def pick_device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise StepimpError(f"Unknown device {device!r}: use auto, cpu, cuda or cuda:N.") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise StepimpError(
            f"--device {device}: this machine's torch sees no CUDA device. Use --device cpu."
        )
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
            f"Unknown attention {attn!r}: use auto, eager, sdpa, flash_attention_2 or flash_attention_4."
        )
    if attn.startswith("flash") and not usable:
        raise StepimpError(
            f"{attn} needs a CUDA device and --dtype bfloat16 or float16. Use --attn sdpa."
        )
    return attn


def fingerprint(model: torch.nn.Module) -> str:
    """12 hex digits of the parameters' names and float32 values: equal weights have equal
    fingerprints.
    """
    state = hashlib.sha256()
    for name, tensor in sorted(model.named_parameters()):
        state.update(name.encode())
        state.update(tensor.detach().float().cpu().contiguous().numpy().data)
    return state.hexdigest()[:12]


def load_checkpoint(path: str, device="auto", dtype="float32", attn="auto"):
    """An MDLM checkpoint in the public layout, from a folder or the Hugging Face hub, ready for
    inference.

    Raises StepimpError, naming the tensor, where one is missing, extra, mis-shaped, or holds NaN or
    Inf."""
    from transformers.utils import logging as transformers_logging

    from stepimp.models.layers import rope_frequencies
    from stepimp.models.mdlm import MDLMForMaskedLM
    from stepimp.models.mdlm_config import MDLMConfig

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # what it would warn of is checked below, strictly
    folder = Path(path).expanduser()
    if folder.exists() and not (folder / "config.json").is_file():
        raise StepimpError(
            f"{path} is no checkpoint: it has no config.json. Give a Hugging Face model folder."
        )
    if folder.is_absolute() and not folder.exists():
        raise StepimpError(f"{path} is no checkpoint: there is no such folder.")
    if not folder.exists():
        from stepimp.text.hub import offline_unless_reachable

        offline_unless_reachable()
    source = str(folder) if folder.exists() else path
    device, dtype = pick_device(device), getattr(torch, dtype)
    attn = pick_attention(attn, device, dtype)
    try:
        kind = MDLMConfig.get_config_dict(source)[0].get("model_type")
        if kind != "mdlm":
            raise StepimpError(f"{path} holds a {kind!r} model; stepimp loads 'mdlm' checkpoints.")
        config = MDLMConfig.from_pretrained(source)
        # Read in fp32 so that checks and fingerprint see the stored weights.
        model, report = MDLMForMaskedLM.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            attn_implementation=attn,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except ImportError as error:
        raise StepimpError(
            f"{attn} is not installed ({error}). Install it or use --attn sdpa."
        ) from None
    except StepimpError:
        raise
    except UnpicklingError:
        raise StepimpError(
            f"{path} is a pickle of more than tensors, and stepimp executes none: convert it to safetensors."
        ) from None
    except (
        Exception
    ) as error:  # a damaged file or an unreachable hub: the libraries below share no exception type
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        place = "" if folder.exists() else "there is no such folder, and as a hub id: "
        raise StepimpError(f"Cannot load {path} as a checkpoint: {place}{reason}") from None
    problems = [f"missing {name}" for name in sorted(report["missing_keys"])]
    problems += [f"extra {name}" for name in sorted(report["unexpected_keys"])]
    problems += [
        f"{n} has shape {tuple(a)}, not {tuple(b)}" for n, a, b in sorted(report["mismatched_keys"])
    ]
    if problems:
        more = " ..." if len(problems) > 4 else ""
        raise StepimpError(f"{path} does not fit its config.json: {'; '.join(problems[:4])}{more}")
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise StepimpError(
                f"{path}: {name} holds NaN or Inf. Load another checkpoint of that training."
            )
    rotary = model.backbone.rotary_emb
    if not torch.allclose(rotary.inv_freq, rope_frequencies(rotary.head_dim).float(), rtol=1e-2):
        raise StepimpError(
            f"{path}: backbone.rotary_emb.inv_freq is not the rotary embedding of base 10000."
        )
    model.fingerprint = fingerprint(model)
    return model.to(device, dtype).freeze()
