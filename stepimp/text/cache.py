"""The cache folder, and names for what is in it."""

import atexit
import functools
import hashlib
import logging
import os
import shutil
import tempfile
from pathlib import Path

from stepimp.errors import StepimpError

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where corpora and blocks are kept: STEPIMP_CACHE, else stepimp/ in the user's cache folder.
    Where that cannot be written, a folder of this process alone, with a warning.

    Raises StepimpError where it cannot be made.
    """
    folder = user_folder()
    return folder if os.access(folder, os.W_OK) else temporary_folder(folder)


def cache_file(name: str) -> Path:
    """Where a file or folder of this name is in the cache or is to be written."""
    there = user_folder() / name
    return there if there.exists() else cache_folder() / name


@functools.cache
def temporary_folder(folder: Path) -> Path:
    """A folder in place of a cache that cannot be written; it is removed when the process ends."""
    log.warning("Warning: %s cannot be written to: text is prepared for this run alone.", folder)
    temporary = tempfile.mkdtemp(prefix="stepimp-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary)


def user_folder() -> Path:
    """The folder of the cache, made if it is missing."""
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    folder = Path(os.environ.get("STEPIMP_CACHE") or user_cache / "stepimp").expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StepimpError(
            f"Cannot make the cache folder {folder} ({error.strerror}). Set STEPIMP_CACHE to "
            "another folder."
        ) from error
    return folder


def digest(*parts: str) -> str:
    """12 hex digits that name the given strings."""
    state = hashlib.sha256()
    for part in parts:
        state.update(f"{len(part)}:".encode() + part.encode("utf-8", "surrogatepass"))
    return state.hexdigest()[:12]


def file_digest(path: Path) -> str:
    """12 hex digits that name a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
