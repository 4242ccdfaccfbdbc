"""The journal of finished work, by which a killed run is resumed."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from stepimp.checks import parsed, shortened
from stepimp.errors import FULL, StepimpError, advice

BLOCK = 1 << 16  # bytes read at a time in search of the last line break
Check = Callable[[str, Any], str]
"""(unit, its result) -> what is wrong with the result, in words; empty where nothing is."""


def anything(unit: str, result) -> str:
    """The check that accepts every result."""
    return ""


class Journal:
    """Finished units of work, one JSON line each, so that a killed run can be resumed.

    The first line names the run; earlier versions wrote it twice where two processes began at once.
    A last line that a kill cut off is ignored, and removed with the next unit; anything else
    unreadable, and a result that `check` objects to, raises StepimpError. The file is created with
    the first finished unit. Units are added under a lock: two equal runs in one folder share a
    journal.
    """

    def __init__(self, path: Path, key: str, check: Check = anything):
        header = {"run": key}
        *whole, cut = path.read_bytes().split(b"\n") if path.exists() else [b""]
        self.done: dict[str, Any] = {}
        for number, line in enumerate(whole, 1):
            record = self._record(line)
            if record == header:
                continue
            wrong = "it does not belong to this run" if number == 1 else self._fault(record, check)
            if wrong:
                raise StepimpError(
                    f"{path} is damaged or of another run (line {number}: {wrong}): move it away "
                    "to start this run anew."
                )
            self.done[record["unit"]] = record["result"]
        if not whole and not json.dumps(header).encode().startswith(cut):
            raise StepimpError(
                f"{path} is damaged or of another run: move it away to start this run anew."
            )
        self.path, self._header = path, header

    @staticmethod
    def _record(line: bytes) -> Any:
        """The JSON value of a line, None where it is not valid JSON."""
        try:
            return parsed(line)
        except ValueError:
            return None

    @staticmethod
    def _fault(record, check: Check) -> str:
        if not isinstance(record, dict) or record.keys() != {"unit", "result"}:
            return f"{shortened(record)} is not a finished unit of work"
        if not isinstance(record["unit"], str):
            return f"the unit {shortened(record['unit'])} is not a string"
        return check(record["unit"], record["result"])

    def add(self, unit: str, result):
        """Writes a finished unit to the file, then counts it as done."""
        record = {"unit": unit, "result": result}
        try:
            with open(self.path, "a+b") as file, locked(file):
                records = [record] if drop_cut_line(file) else [self._header, record]
                file.write("".join(json.dumps(record) + "\n" for record in records).encode())
        except OSError as error:
            again = "Free space and run the same command again."
            raise StepimpError(
                f"Cannot write {self.path} ({error.strerror}). "
                f"{again if error.errno in FULL else advice(error)}"
            ) from error
        self.done[unit] = result


@contextmanager
def locked(file: BinaryIO) -> Iterator[None]:
    """Holds the lock of an open file, waiting for it; on a file system without locks, nothing."""
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        file.flush()
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)


def drop_cut_line(file: BinaryIO) -> int:
    """Removes what follows the last line break, which a killed process left, and returns the size
    of the file then, in bytes. The caller holds the lock, so no other process is writing that line.
    """
    end = size = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - BLOCK)
        file.seek(start)
        line_break = file.read(end - start).rfind(b"\n")
        if line_break >= 0:
            end = start + line_break + 1
            break
        end = start
    if end < size:
        file.truncate(end)
    return end


def journals_beside(path: Path) -> list[Path]:
    """The journal files of all processes: NAME.journal of the first one, NAME.1.journal, ..."""
    return sorted(path.parent.glob(f"{path.stem}*{path.suffix}"))


def open_journal(path: Path, key: str, check: Check = anything, rank: int = 0) -> Journal:
    """A process's journal, with the units of all journals beside it: an earlier run may have had
    another number of processes.

    path: the first process's. To be called before any process adds to its journal.
    """
    journal = Journal(path.with_suffix(f".{rank}{path.suffix}") if rank else path, key, check)
    for file in journals_beside(path):
        if file != journal.path:
            journal.done |= Journal(file, key, check).done
    return journal


def join_journals(path: Path, key: str, done: dict[str, Any], check: Check):
    """Adds the units of all processes to the first process's file, as one process alone would have
    left it.
    """
    journal = Journal(path, key, check)
    for unit in done.keys() - journal.done.keys():
        journal.add(unit, done[unit])


class MemoryJournal:
    """A journal that is never written to a file."""

    def __init__(self):
        self.done: dict[str, Any] = {}

    def add(self, unit: str, result):
        self.done[unit] = result
