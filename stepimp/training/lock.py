"""A lock on a folder that is trained into, which the system releases when its process ends."""

import fcntl
import json
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from stepimp.errors import StepimpError, advice

log = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Holds the lock of a folder for one kind of work, and says in it which process does so.

    what: what is being done there, such as "train"; several processes under torchrun do it as one,
    and the first of them takes the lock. Raises StepimpError, which names the process,
    where another one holds it. On a file system without locks it logs that there is none.
    """
    path = folder / f".{what}.lock"
    file = acquired(path, folder)
    try:
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        facts = {"pid": os.getpid(), "host": platform.node(), "since": since}
        try:
            file.write(json.dumps(facts).encode())
        except OSError as error:
            raise StepimpError(
                f"Cannot write {path} ({error.strerror}). {advice(error)}"
            ) from error
        yield
    finally:
        with file, suppress(OSError):
            path.unlink()


def acquired(path: Path, folder: Path) -> BinaryIO:
    """The lock file, open and locked."""
    while True:
        file = open(path, "a+b", buffering=0)  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            with file:
                raise StepimpError(
                    f"{folder} is being trained into by {holder(file)}: wait until it ends, or "
                    "choose another folder."
                ) from error
        except OSError as error:
            log.warning(
                "%s: no lock (%s), start only one training at a time.", path, error.strerror
            )
            return file
        try:
            # The process before this one may have removed the file between the two calls.
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.truncate(0)
                return file
        except FileNotFoundError:
            pass
        file.close()


def holder(file: BinaryIO) -> str:
    """The process that wrote a lock file."""
    file.seek(0)
    try:
        facts = json.load(file)
        return f"process {facts['pid']} on {facts['host']} since {facts['since']}"
    except (ValueError, KeyError, TypeError):  # it has the lock but has not written yet
        return "another process"
