"""The cache folder, and names for what is in it."""

import atexit
import functools
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from stepimp.errors import StepimpError

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where corpora and blocks are kept: STEPIMP_CACHE, else stepimp/ in the user's cache folder.
    Where that cannot be written, a folder of this process alone, with a warning.

    Raises StepimpError where STEPIMP_CACHE cannot be made.
    """
    folder = user_folder()
    return folder if os.access(folder, os.W_OK) else temporary_folder(folder)


def cache_file(name: str) -> Path:
    """Where a file or folder of this name is in the cache or is to be written."""
    file = user_folder() / name
    return file if file.exists() else cache_folder() / name


@functools.cache
def temporary_folder(folder: Path) -> Path:
    """A folder in place of a cache that cannot be written; it is removed when the process ends."""
    log.warning("Warning: %s cannot be written to: text is prepared for this run alone.", folder)
    temporary = tempfile.mkdtemp(prefix="stepimp-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary)


def user_folder() -> Path:
    """The folder of the cache, made if it is missing; `temporary_folder` for a user without a home
    folder, or with one that cannot be written.
    """
    chosen = os.environ.get("STEPIMP_CACHE")
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    folder = Path(chosen or user_cache / "stepimp")
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody knows the home folder
        if not chosen:
            return temporary_folder(folder)
        reason = error.strerror if isinstance(error, OSError) else error
        raise StepimpError(
            f"Cannot make the cache folder {folder} ({reason}). Set STEPIMP_CACHE to another "
            "folder."
        ) from error
    return folder


def digest(*parts: str) -> str:
    """12 hex digits that name the given strings."""
    return digest_of(parts)


def digest_of(parts: Iterable[str]) -> str:
    """`digest` of strings that are never in memory together."""
    state = hashlib.sha256()
    for part in parts:
        state.update(f"{len(part)}:".encode() + part.encode("utf-8", "surrogatepass"))
    return state.hexdigest()[:12]


def file_digest(path: Path) -> str:
    """12 hex digits that name a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


# What the entries of the cache folder are called. Others are not stepimp's, and are left alone.
NAMES = {
    "text": r"text-[0-9a-f]{12}\.arrow.*|pipe-[0-9a-f]{12}\.\w+|unfinished-\w+",
    "text of earlier versions": r"(docs|code)-\w+-[0-9a-f]{12}|generator"
    r"|.*_generator_default-.*\.lock",
    "tokens": r"[0-9a-f]{12}\.tokens[\w.]*",
    "timings of models": r"rates-[0-9a-f]{12}\.json(\.tmp)?",
}


class Kind(NamedTuple):
    """What the cache holds of one kind."""

    name: str
    entries: int
    bytes: int


def entries() -> list[tuple[str, Path]]:
    """(name of its kind, path) of each entry of the cache folder."""
    return [
        (name, entry)
        for entry in sorted(user_folder().iterdir())
        for name, pattern in NAMES.items()
        if re.fullmatch(pattern, entry.name)
    ]


def contents() -> list[Kind]:
    """What the cache folder holds, the largest first."""
    sizes: dict[str, list[int]] = {}
    for name, entry in entries():
        files = [entry] if entry.is_file() else entry.rglob("*")
        size = sum(file.stat().st_size for file in files if file.is_file())
        if size:  # a lock has none
            sizes.setdefault(name, []).append(size)
    kinds = [Kind(name, len(by_entry), sum(by_entry)) for name, by_entry in sizes.items()]
    return sorted(kinds, key=lambda kind: kind.bytes, reverse=True)


def clear():
    """Empties the cache folder. Raises StepimpError for what cannot be removed."""
    for _, entry in entries():
        try:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        except OSError as error:
            raise StepimpError(f"Cannot remove {entry} ({error.strerror}).") from error
