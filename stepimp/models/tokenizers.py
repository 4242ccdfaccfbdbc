"""Tokenizers: beside the weights, or from the hub; code of their own is never run."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import transformers
from transformers.utils import logging

from stepimp.errors import StepimpError, advice, first_line
from stepimp.models.headers import refuse_pointer
from stepimp.text.hub import offline_unless_reachable

TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (TOKENIZER, "tokenizer_config.json", "vocab.json", "vocab.txt")
AUTO = ("AutoTokenizer",)


def open_tokenizer(source: str, classes: tuple[str, ...] = AUTO):
    """A tokenizer from a folder or the hub, by the first of these classes of transformers that can
    open it.
    """
    quiet_transformers()
    folder = Path(source)
    if not folder.is_dir():
        offline_unless_reachable()
    for file in filter(Path.is_file, (folder / name for name in TOKENIZER_FILES)):
        refuse_pointer(file)
    errors = []
    for tokenizer in [getattr(transformers, name) for name in classes]:
        try:
            return tokenizer.from_pretrained(source, trust_remote_code=False)
        except Exception as error:  # transformers and tokenizers document no common exception type
            errors.append(error)
    raise StepimpError(failure(source, errors[0])) from errors[0]


def failure(source: str, error: Exception) -> str:
    """What to say of a tokenizer that cannot be opened; transformers speaks of its own classes."""
    reason, folder = first_line(error), Path(source)
    if isinstance(error, KeyError):
        reason = f"it lacks {reason}"
    if folder.is_dir() and not (folder / TOKENIZER).is_file():
        missing = "it has no tokenizer.json: put one there"
        # A line that ends in a colon announces a list of ways to convert other formats.
        reason = missing if reason.endswith(":") else f"{reason.rstrip('.')}; {missing}"
    elif folder.is_dir():
        reason = f"{reason.rstrip('.')}. If its tokenizer.json is damaged, fetch it again"
    return f"Cannot load the tokenizer of {source}: {reason.rstrip('.')}."


def save_tokenizer(tokenizer, folder: Path):
    """Writes a tokenizer's files into a folder, each whole or not at all and tokenizer.json last: a
    kill or a full disk leaves none that cannot be read. Raises StepimpError where they cannot be
    written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".tokenizer-") as scratch:
            tokenizer.save_pretrained(scratch)
            for file in sorted(Path(scratch).iterdir(), key=lambda file: file.name == TOKENIZER):
                if file.is_dir():  # chat templates
                    shutil.copytree(file, folder / file.name, dirs_exist_ok=True)
                else:
                    os.replace(file, folder / file.name)
    except OSError as error:
        raise StepimpError(
            f"Cannot write a tokenizer to {folder} ({error.strerror}). {advice(error)}"
        ) from error
    except Exception as error:
        if type(error) is not Exception:  # which the library tokenizers raises for the system's
            raise
        raise StepimpError(
            f"Cannot write a tokenizer to {folder}: {first_line(error)}. Free space and run the "
            "same command again."
        ) from error


def quiet_transformers():
    """Turns off the progress bars and warnings of transformers: what it would warn of is checked
    strictly.
    """
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def load_tokenizer(checkpoint: str, fallback: str | None = "gpt2", classes: tuple[str, ...] = AUTO):
    """The checkpoint's own tokenizer, else the one that its layout names.

    fallback: GPT-2's for the public MDLM checkpoints, which ship none.
    """
    place = Path(checkpoint).expanduser()
    folder = place.parent if place.is_file() else place
    if any((folder / file).exists() for file in TOKENIZER_FILES):
        return open_tokenizer(str(folder), classes)
    if not place.exists():
        with suppress(StepimpError):
            return open_tokenizer(checkpoint, classes)
    name = "GPT-2's" if fallback == "gpt2" else fallback
    try:
        if fallback:
            return open_tokenizer(fallback)
    except StepimpError as error:
        raise StepimpError(
            f"{checkpoint} has no tokenizer, and {name} could not be fetched: "
            "put a tokenizer.json beside the weights."
        ) from error
    raise StepimpError(f"{checkpoint} has no tokenizer: put a tokenizer.json beside the weights.")
