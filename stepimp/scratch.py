"""Files that are written beside their place and appear there whole."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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
