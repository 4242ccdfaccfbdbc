"""Writes any checkpoint that loads as a Hugging Face folder with native names."""

import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError

from stepimp.errors import StepimpError, advice
from stepimp.models.checkpoints import open_checkpoint
from stepimp.models.layouts import native
from stepimp.models.native import make_bidirectional
from stepimp.models.strict import check_tensors, empty_model, fill
from stepimp.models.tokenizers import save_tokenizer
from stepimp.models.vocabulary import mask_token
from stepimp.models.weights import save_model
from stepimp.results import results_folder


def convert(source: str, folder: Path, dtype: str = "float32") -> str:
    """Writes config.json, safetensors and tokenizer into a new folder; returns the fingerprint.

    An MDLM is written in the layout of the public checkpoints, anything else in that of its
    transformers class, with what the class cannot record under "stepimp" in config.json.
    Raises StepimpError where the folder has content or the checkpoint does not load.
    """
    if folder.exists() and any(folder.iterdir()):
        raise StepimpError(f"{folder} is not empty: choose another folder.")
    results_folder(folder if folder.exists() else folder.parent)
    checkpoint = open_checkpoint(source)
    layout = checkpoint.layout
    tokenizer = checkpoint.tokenizer()
    try:
        mask_id = mask_token(layout, layout.config.vocab_size, tokenizer)
        model = empty_model(layout, "sdpa")
        check_tensors(model, layout, checkpoint.weights)
        written = getattr(torch, dtype)
        digest = fill(model, layout, checkpoint.weights, torch.device("cpu"), written)
    except StepimpError as error:
        raise StepimpError(f"Cannot load {source} as a checkpoint: {error}") from error
    model.config.architectures = [type(model).__name__]
    model.config.dtype = written
    if layout.mdlm:
        model.config.mask_token_id = mask_id
    else:
        make_bidirectional(model)
        setattr(model.config, native.FIELD, native.recorded(layout) | {"mask_id": mask_id})
    try:
        save_model(model, folder)
        save_tokenizer(tokenizer, folder)
    except BaseException as error:  # an interrupt as well: half a checkpoint is of no use
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise StepimpError(
                f"Cannot write {folder} ({error.strerror}). {advice(error)}"
            ) from error
        if isinstance(error, SafetensorError):
            raise StepimpError(
                f"Cannot write {folder} ({error}). Free space or choose another folder."
            ) from error
        raise
    return digest
