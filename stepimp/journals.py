"""The journal of finished work, by which a killed run is resumed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepimp.checks import parsed, shortened
from stepimp.errors import FULL, StepimpError, advice

Check = Callable[[str, Any], str]
"""(unit, its result) -> what is wrong with the result, in words; empty where nothing is."""


def anything(unit: str, result) -> str:
    """The check that accepts every result."""
    return ""


class Journal:
    """Finished units of work, one JSON line each, so that a killed run can be resumed.

    The first line names the run; it appears twice where two processes began at once. A last line
    that a kill cut off is dropped; anything else unreadable, and a result that `check` objects to,
    raises StepimpError. The file is created with the first finished unit.
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
        if cut:
            with open(path, "r+b") as file:
                file.truncate(path.stat().st_size - len(cut))
        self.path, self._unwritten = path, [] if whole else [header]

    @staticmethod
    def _record(line: bytes) -> Any:
        """The JSON value of a line, None where it is none."""
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
        records = [*self._unwritten, {"unit": unit, "result": result}]
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write("".join(json.dumps(record) + "\n" for record in records))
        except OSError as error:
            again = "Free space and run the same command again."
            raise StepimpError(
                f"Cannot write {self.path} ({error.strerror}). "
                f"{again if error.errno in FULL else advice(error)}"
            ) from error
        self._unwritten, self.done[unit] = [], result


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


def join_journals(path: Path, key: str, done: dict[str, Any], check: Check = anything):
    """Adds the units of all processes to the first process's file, as one process alone would have
    left it.
    """
    journal = Journal(path, key, check)
    for unit in done.keys() - journal.done.keys():
        journal.add(unit, done[unit])


class Kept:
    """A journal in memory only."""

    def __init__(self):
        self.done: dict[str, Any] = {}

    def add(self, unit: str, result):
        self.done[unit] = result
