"""Files and folders that are written beside their place and appear there whole."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stepimp.errors import StepimpError, advice


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which replaces `path` when the block ends, and is removed if it fails.

    Each call has a name of its own: several processes may write the same file at once, and the last
    to finish stays.
    """
    scratch = path.with_name(f"{path.name[:200]}.{os.getpid()}-{secrets.token_hex(3)}.tmp")
    try:
        yield scratch
        os.replace(scratch, path)
    finally:
        with suppress(OSError):
            scratch.unlink()


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """`replacing`. Raises StepimpError, which names the file, where it cannot be written."""
    try:
        with replacing(path) as scratch:
            yield scratch
    except OSError as error:
        reason = error.strerror or error
        raise StepimpError(f"Cannot write {path} ({reason}). {advice(error)}") from error


def copy_folder(source: Path, target: Path):
    """Copies a folder, which appears at the target whole or not at all.

    target: is not there yet. One process at a time copies into its folder, and what one that was
    killed has left is removed. Raises OSError, without a number where several files fail.
    """
    scratch = target.with_name(".copying")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        shutil.copytree(source, scratch)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
