"""The results document (one JSON per run), its provenance, and the journal of finished work."""

import hashlib
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stepimp import __version__
from stepimp.errors import StepimpError, advice
from stepimp.scratch import replacing

SCHEMA = "stepimp/1"


def results_folder(out: str | Path) -> Path:
    """The results folder, made if it is missing. Raises StepimpError where it cannot be written.

    To be called before any work is done.
    """
    folder = Path(out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StepimpError(
            f"Cannot write to {folder} ({error.strerror}). Choose another folder for the results."
        ) from error
    return folder


def run_key(command: str, params: dict, fingerprints: dict) -> str:
    """8 hex digits that name a run: the same command on the same models and text."""
    text = json.dumps([command, params, fingerprints], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def write_atomically(path: Path, text: str):
    """Writes a file whole or not at all: a full disk or a kill leaves the old one, or none.

    Raises StepimpError where it cannot be written.
    """
    try:
        with replacing(path) as scratch, open(scratch, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StepimpError(f"Cannot write {path} ({error.strerror}). {advice(error)}") from error


def git_commit() -> str | None:
    """The commit of the source checkout stepimp runs from, if it is one."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True
        )
    except OSError:  # git is not installed
        return None
    return answer.stdout.strip() or None


class Run:
    """One run of a command: where its document and journals are, and their provenance.

    params: everything the rows depend on, besides the models and the text, which fingerprints name:
    {"models": {name: hex}, "data": hex}.
    """

    def __init__(
        self,
        out: str | Path,
        command: str,
        params: dict,
        fingerprints: dict,
        device="cpu",
        dtype="float32",
    ):
        self.command, self.params, self.fingerprints = command, params, fingerprints
        self.device, self.dtype = str(device), dtype
        self.started, self.clock = (
            datetime.now(UTC).isoformat(timespec="seconds"),
            time.perf_counter(),
        )
        self.commit = git_commit()  # of the code that runs, whatever is committed meanwhile
        self.key = run_key(command, params, fingerprints)
        self.path = results_folder(out) / f"{command}-{self.key}.json"

    def journal(self, rank: int = 0, processes: int = 1) -> "Journal":
        """The journal of one of several processes, with the units of ranks that no longer exist.

        An earlier run may have had more processes; their journals are shared out.
        """
        suffix = f".{rank}.journal" if rank else ".journal"
        journal = Journal(self.path.with_suffix(suffix), self.key)
        for path in self.journals():
            other = int(path.suffixes[0][1:]) if len(path.suffixes) > 1 else 0
            if other != rank and other % processes == rank:
                journal.done |= Journal(path, self.key).done
        return journal

    def journals(self) -> list[Path]:
        """The journal files of all processes."""
        return sorted(self.path.parent.glob(f"{self.path.stem}*.journal"))

    def provenance(self) -> dict:
        import torch

        cuda = self.device.startswith("cuda")
        return {
            "version": __version__,
            "git_commit": self.commit,
            "command_line": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name(self.device)
            if cuda
            else platform.processor() or "cpu",
            "dtype": self.dtype,
            "seed": self.params.get("seed"),
            "fingerprints": self.fingerprints,
            "started": self.started,
            "wall_seconds": round(time.perf_counter() - self.clock, 3),
        }

    def finished(self) -> dict | None:
        """The document of an earlier run that this version of stepimp finished, else None.

        It becomes the newest one of its folder.
        """
        if not self.path.exists():
            return None
        document = read_document(self.path)
        if document["provenance"]["version"] != __version__:
            return None
        self.path.touch()
        return document

    def finish(self, rows: Sequence[Mapping[str, Any]], **extra) -> dict:
        """Writes the document, `extra` parts beside the rows, and returns it with its "path"."""
        document = {
            "schema": SCHEMA,
            "command": self.command,
            "params": self.params,
            "provenance": self.provenance(),
            "rows": rows,
            **extra,
        }
        write_atomically(self.path, in_lines(finite(document)))
        for journal in self.journals():
            journal.unlink(missing_ok=True)
        return {**document, "path": str(self.path)}


def in_lines(document: dict) -> str:
    """A document as JSON, with a line for each part and for each row of a part."""

    def part(value) -> str:
        rows = isinstance(value, list) and value and isinstance(value[0], dict)
        return (
            "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]" if rows else json.dumps(value)
        )

    return (
        "{\n"
        + ",\n".join(f" {json.dumps(name)}: {part(value)}" for name, value in document.items())
        + "\n}\n"
    )


def finite(value):
    """The value with NaN and infinities as None: JSON has no other way to write them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return value


class Journal:
    """Finished units of work, one JSON line each, so that a killed run can be resumed.

    The first line names the run; it appears twice where two processes began at once. A last line
    that a kill cut off is dropped; anything else unreadable raises StepimpError. The file is
    created with the first finished unit.
    """

    def __init__(self, path: Path, key: str):
        header = {"run": key}
        *whole, cut = path.read_bytes().split(b"\n") if path.exists() else [b""]
        try:
            records = [json.loads(line) for line in whole]
            if (
                records[:1] not in ([], [header])
                or not whole
                and not json.dumps(header).encode().startswith(cut)
            ):
                raise ValueError
            self.done = {record["unit"]: record["result"] for record in records if record != header}
        except (ValueError, KeyError, TypeError) as error:
            raise StepimpError(
                f"{path} is damaged or of another run: delete it to start this run anew."
            ) from error
        if cut:
            with open(path, "r+b") as file:
                file.truncate(path.stat().st_size - len(cut))
        self.path, self._unwritten = path, [] if whole else [header]

    def add(self, unit: str, result):
        """Writes a finished unit to the file, then counts it as done."""
        records = [*self._unwritten, {"unit": unit, "result": result}]
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write("".join(json.dumps(record) + "\n" for record in records))
        except OSError as error:
            raise StepimpError(
                f"Cannot write {self.path} ({error.strerror}). Free space and run the same command "
                "again."
            ) from error
        self._unwritten, self.done[unit] = [], result


class Kept:
    """A journal in memory only."""

    def __init__(self):
        self.done: dict[str, Any] = {}

    def add(self, unit: str, result):
        self.done[unit] = result


def read_document(path) -> dict:
    """A results document, with its path under "path".

    Raises StepimpError for a file that is missing, truncated, foreign or of another version.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise StepimpError(f"No results file {path}.") from error
    except OSError as error:
        raise StepimpError(f"Cannot read {path} ({error.strerror}). {advice(error)}") from error
    except ValueError as error:
        raise StepimpError(
            f"{path} is truncated or not a results file: delete it and run the command again."
        ) from error
    parts = {"command", "params", "provenance", "rows"}
    if (
        not isinstance(document, dict)
        or document.get("schema") != SCHEMA
        or not parts <= document.keys()
    ):
        raise StepimpError(f"{path} is not a stepimp results file of this version ({SCHEMA}).")
    return {**document, "path": str(path)}


def newest(out, kinds: str | tuple[str, ...], matches=lambda document: True) -> dict | None:
    """The newest document in the results folder that matches, or None.

    kinds: its command, or several that may be. matches: document -> bool.
    """
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    folder = Path(out).expanduser()
    files = {file for kind in kinds for file in folder.glob(f"{kind}-*.json")}
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        document = read_document(file)
        if document["command"] in kinds and matches(document):
            return document
    return None
