"""Files of tokens that are written part by part, so that a killed run can be resumed."""

import logging
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from filelock import FileLock

from stepimp.errors import StepimpError, advice
from stepimp.scratch import replacing
from stepimp.wording import duration

MANY = 10_000_000  # characters from which on progress is logged
EVERY = 10.0  # seconds between two messages, and between two notes of what is done
Part = list[tuple[str, bool]]
"""Consecutive pieces of text, each with whether it is the last one of its document."""
log = logging.getLogger(__name__)


def write_token_file(
    path: Path, parts: Iterable[Part], encoder: Callable[[Part], np.ndarray], total: int
):
    """Writes the tokens of all parts as a file of int32, whole or not at all.

    encoder: gives tokens [n] int32. total: characters of all parts. A run that was killed is
    resumed after the last part that it has noted beside the file. Raises StepimpError where the
    file cannot be written.
    """
    part_file, note = (path.with_name(path.name + end) for end in (".part", ".note"))
    try:
        with FileLock(path.with_name(path.name + ".lock")):
            if path.exists():  # another process has written it
                return
            done, size = resumable(part_file, note)
            with open(part_file, "r+b" if size else "wb") as file:
                file.truncate(size)
                file.seek(size)
                append_tokens(file, note, parts, encoder, done, total)
                flush_to_disk(file)
            part_file.replace(path)
            note.unlink(missing_ok=True)
    except OSError as error:
        raise StepimpError(
            f"Cannot write {path} ({error.strerror}). {advice(error)} STEPIMP_CACHE sets it."
        ) from error


def resumable(part_file: Path, note: Path) -> tuple[int, int]:
    """(parts done, their bytes) as a killed run has noted them; (0, 0) where there is no such note
    or the file is shorter than it says.
    """
    try:
        done, size = map(int, note.read_text("utf-8").split())
        return (done, size) if 0 < size <= part_file.stat().st_size else (0, 0)
    except (FileNotFoundError, ValueError):
        return 0, 0


def append_tokens(
    file, note: Path, parts: Iterable[Part], encoder: Callable[[Part], np.ndarray], done: int, total
):
    """Appends the tokens of all parts but the first `done`, and notes (parts done, bytes) now and
    then.
    """
    characters = skipped = 0
    start = noted = time.monotonic()
    for number, part in enumerate(parts, 1):
        characters += sum(len(piece) for piece, _ in part)
        if number <= done:
            skipped, start = characters, time.monotonic()
            continue
        file.write(encoder(part).tobytes())  # whose errors have a number, unlike tofile's
        if time.monotonic() - noted > EVERY:
            flush_to_disk(file)
            with replacing(note) as scratch:
                scratch.write_text(f"{number} {file.tell()}", "utf-8")
            noted = time.monotonic()
            if total > MANY:
                log.info(progress_message(characters, total, characters - skipped, noted - start))


def flush_to_disk(file):
    """Waits until what was written is on the disk: a loss of power must not leave a shorter file
    under a name that says it is whole.
    """
    file.flush()
    os.fsync(file.fileno())


def progress_message(characters: int, total: int, fresh: int, seconds: float) -> str:
    """How far the tokenizing is. fresh: characters that this run has done in these seconds."""
    left = seconds * (total - characters) / max(1, fresh)
    return (
        f"Tokenizing: {characters / 1e6:,.0f} of {total / 1e6:,.0f} million characters, about "
        f"{duration(left)} left."
    )
