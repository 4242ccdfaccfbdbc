"""The results document (one JSON per run), the journal of finished work beside it, and
provenance.
"""

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
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from stepimp import __version__
from stepimp.errors import StepimpError

SCHEMA = "stepimp/1"


def results_folder(out: str) -> Path:
    """The folder, made if it is missing. Raises StepimpError where it cannot be written, before any
    work is done.
    """
    folder = Path(out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StepimpError(
            f"Cannot write to {folder} ({error.strerror}). Choose another folder (--out)."
        ) from None
    return folder


def run_key(command: str, params: dict, fingerprints: dict) -> str:
    """8 hex digits that name a run: the same command on the same models and text."""
    text = json.dumps([command, params, fingerprints], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def write_atomically(path: Path, text: str):
    """All or nothing: a full disk or a kill leaves the old file, or none."""
    scratch = path.with_name(path.name + ".tmp")
    try:
        with open(scratch, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink()
        raise StepimpError(
            f"Cannot write {path} ({error.strerror}). Free space or choose another folder (--out)."
        ) from None


def git_commit() -> str | None:
    """The commit of the source checkout stepimp runs from, if it is one."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        asked = subprocess.run(
            ["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True
        )
    except OSError:  # no git here
        return None
    return asked.stdout.strip() or None


class Run:
    """One run of a command: where its document and journal are, and what they say of its origin.

    params: everything the rows depend on. fingerprints: {"models": {name: hex}, "data": hex}.
    """

    def __init__(
        self, out, command: str, params: dict, fingerprints: dict, device="cpu", dtype="float32"
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
        """Of several processes each writes its own, and takes over those that an earlier run with
        more of them left.
        """
        own = Journal(self.path.with_suffix(f".{rank}.journal" if rank else ".journal"), self.key)
        for path in self.journals():
            other = int(path.suffixes[0][1:]) if len(path.suffixes) > 1 else 0
            if other != rank and other % processes == rank:
                own.done |= Journal(path, self.key).done
        return own

    def journals(self) -> list[Path]:
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

    def finish(self, rows: list[dict], **extra) -> dict:
        """Writes the document and returns it with its path under "path"."""
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
    """A document as JSON with a line for each part, and for each row of a part that consists of
    rows.
    """

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
    """JSON has no NaN: a number nobody could measure is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return value


class Journal:
    """Finished units of work, one JSON line each, so that a killed run goes on where it was.

    The first line names the run; it is there twice where two processes began at once. A last line
    cut off by a kill is dropped; anything else unreadable is an error. A journal without a finished
    unit is no file."""

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
        except (ValueError, KeyError, TypeError):
            raise StepimpError(
                f"{path} is damaged or of another run: delete it to start this run anew."
            ) from None
        if cut:
            with open(path, "r+b") as file:
                file.truncate(path.stat().st_size - len(cut))
        self.path, self._unwritten = path, [] if whole else [header]

    def add(self, unit: str, result):
        """Writes a finished unit down before it counts as done."""
        records = [*self._unwritten, {"unit": unit, "result": result}]
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write("".join(json.dumps(record) + "\n" for record in records))
        except OSError as error:
            raise StepimpError(
                f"Cannot write {self.path} ({error.strerror}). Free space and run the same command again."
            ) from None
        self._unwritten, self.done[unit] = [], result


class Kept:
    """A journal that is not written anywhere."""

    def __init__(self):
        self.done = {}

    def add(self, unit: str, result):
        self.done[unit] = result


def read_document(path) -> dict:
    """A results document. Raises StepimpError for a file that is truncated, foreign or of another
    version.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise StepimpError(f"No results file {path}.") from None
    except (ValueError, OSError):
        raise StepimpError(
            f"{path} is truncated or no results file: delete it and run the command again."
        ) from None
    parts = {"command", "params", "provenance", "rows"}
    if (
        not isinstance(document, dict)
        or document.get("schema") != SCHEMA
        or not parts <= document.keys()
    ):
        raise StepimpError(f"{path} is no stepimp results file of this version ({SCHEMA}).")
    return {**document, "path": str(path)}


def newest(out, command: str, matches=lambda document: True) -> dict | None:
    """The newest document of a command in the results folder that matches, or None."""
    files = Path(out).expanduser().glob(f"{command}-*.json")
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        document = read_document(file)
        if document["command"] == command and matches(document):
            return document
    return None
