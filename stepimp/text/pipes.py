"""Text from a pipe: read once into a file of the cache, since a corpus is read several times."""

import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

from stepimp.errors import FULL, StepimpError, advice
from stepimp.text.cache import cache_folder

STDIN = "-"
PART = 1 << 20  # bytes read at once


def is_pipe(path: str) -> bool:
    """Whether a path is the standard input, a named pipe or the end of one."""
    if path == STDIN:
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def save_pipe(path: str) -> Path:
    """Reads a pipe to its end into a file of the cache that is named by its content.

    It is a .jsonl file where its first line is a JSON object, else a .txt file. Raises StepimpError
    where nothing came.
    """
    if path == STDIN:
        if sys.stdin is None:  # closed before the start
            raise StepimpError("The standard input is closed: give a file with text in it.")
        return save_stream(sys.stdin.buffer, "the standard input")
    with open(path, "rb") as stream:
        return save_stream(stream, path)


def save_stream(stream: BinaryIO, name: str) -> Path:
    """Copies a stream into the cache. name: what to call it where it is empty."""
    folder, digest = cache_folder(), hashlib.sha256()
    with tempfile.TemporaryDirectory(dir=folder, prefix="unfinished-") as scratch:
        copy = Path(scratch) / "text"
        try:
            with open(copy, "wb") as file:
                while part := stream.read(PART):
                    digest.update(part)
                    file.write(part)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise StepimpError(
                f"Cannot keep {name} in {folder} ({error.strerror}). {advice(error)} "
                "STEPIMP_CACHE sets it."
            ) from error
        if not copy.stat().st_size:
            raise StepimpError(f"Nothing came from {name}: give text, or a file with text in it.")
        saved = folder / f"pipe-{digest.hexdigest()[:12]}{suffix(copy)}"
        shutil.move(copy, saved)
    return saved


def suffix(file: Path) -> str:
    """.jsonl for a file whose first line is a JSON object, else .txt."""
    with open(file, "rb") as lines:
        first = lines.readline()
    try:
        return ".jsonl" if isinstance(json.loads(first), dict) else ".txt"
    except (ValueError, RecursionError):
        return ".txt"
