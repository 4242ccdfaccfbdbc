"""The cache folder, and names for what is in it."""

import hashlib
import os
from pathlib import Path

from stepimp.errors import StepimpError


def cache_folder() -> Path:
    """Where corpora and blocks are kept: STEPIMP_CACHE, else stepimp/ in the user's cache folder.

    Raises StepimpError where it cannot be made.
    """
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
