"""Reads results documents: each is checked against the types declared for it."""

import logging
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from stepimp.checks import parsed
from stepimp.document_types import document_fault, header_fault
from stepimp.errors import StepimpError, advice
from stepimp.headers import read_header

SCHEMA = "stepimp/1"
log = logging.getLogger(__name__)


def read_document(path) -> dict:
    """A results document, with its path under "path".

    Raises StepimpError for a file that is missing, truncated, foreign, damaged or of another
    version.
    """
    path = Path(path)
    try:
        document = parsed(path.read_bytes(), names=True)
    except FileNotFoundError as error:
        raise StepimpError(f"No results file {path}.") from error
    except OSError as error:
        raise StepimpError(f"Cannot read {path} ({error.strerror}). {advice(error)}") from error
    except ValueError as error:
        raise StepimpError(
            f"{path} is truncated or not a results file: move it away and run the command again."
        ) from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise StepimpError(f"{path} is not a stepimp results file of this version ({SCHEMA}).")
    if wrong := document_fault(document):
        raise StepimpError(f"{path} is damaged: {wrong}. Move it away and run the command again.")
    return {**document, "path": str(path)}


def command_of(document: dict) -> list[str]:
    """The words of the command line that made a document; empty where it does not say."""
    try:
        return shlex.split(document["provenance"].get("command_line", ""))
    except ValueError:  # quotes that do not close
        return []


@cache
def skip(message: str):
    """Logs once why a file is skipped."""
    log.warning("Skipped: %s", message)


def header_of(path: Path) -> dict:
    """A document without its rows, or all of it where it is laid out in another way. Raises
    StepimpError as `read_document` does.
    """
    header = read_header(path)
    if header is None:
        return read_document(path)
    if wrong := header_fault(header):
        raise StepimpError(f"{path} is damaged: {wrong}. Move it away and run the command again.")
    return header


def newest_first(files: Iterable[Path]) -> list[Path]:
    """Files by their time; what is not a file, or cannot be reached, is skipped with a warning."""
    times = {}
    for file in files:
        try:
            facts = file.stat()
        except OSError as error:
            skip(f"Cannot read {file} ({error.strerror}).")
            continue
        if stat.S_ISREG(facts.st_mode):
            times[file] = facts.st_mtime
        else:  # reading a named pipe may wait for ever
            skip(f"{file} is not a file.")
    return sorted(times, key=times.__getitem__, reverse=True)


def headers_in(folder, kinds: tuple[str, ...]) -> Iterator[dict]:
    """The parts before the rows of each document of these commands, the newest file first.

    A file that is not a results document is skipped with a warning.
    """
    files = {file for kind in kinds for file in Path(folder).expanduser().glob(f"{kind}-*.json")}
    for file in newest_first(files):
        try:
            header = header_of(file)
        except StepimpError as error:
            skip(str(error))
            continue
        if header["command"] in kinds:
            yield header


def newest(
    out, kinds: str | tuple[str, ...], matches: Callable[[dict], bool] = lambda document: True
) -> dict | None:
    """The newest document in the results folder that matches, or None.

    kinds: its command, or several that may be. matches: by params and provenance. Files that are
    not results are skipped.
    """
    wanted = (kinds,) if isinstance(kinds, str) else kinds
    for header in filter(matches, headers_in(out, wanted)):
        try:
            return read_document(header["path"])
        except StepimpError as error:
            skip(str(error))
    return None
