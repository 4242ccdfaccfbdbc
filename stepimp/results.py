"""Writes the results document (one JSON per run) with its provenance."""

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
from stepimp.agreement import require_same
from stepimp.documents import SCHEMA, read_document
from stepimp.errors import StepimpError
from stepimp.journals import Check, Journal, anything, journals_beside, open_journal
from stepimp.processes import Processes
from stepimp.scratch import writing

PATHS = ("data", "family", "judge", "samples_file")
"""Parameters of a run that may be paths; fingerprints identify what is there."""


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
            f"Cannot write to {folder} ({error.strerror}). Choose another folder, or change the "
            "permissions of this one."
        ) from error
    return folder


def run_key(command: str, params: dict, fingerprints: dict) -> str:
    """8 hex digits that name a run: the same command on the same models and text.

    Where a family or a text lies on this machine does not count: fingerprints say what is there.
    Names that are the same on every machine count, as in earlier versions.
    """
    if any(os.path.isabs(params.get(name) or "") for name in PATHS):
        params = {name: value for name, value in params.items() if name not in PATHS}
    text = json.dumps([command, params, fingerprints], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def work_of(command: str, params: dict, fingerprints: dict) -> dict[str, Any]:
    """What the processes of a run must agree on. What is at a path is compared by its fingerprint:
    each machine may have it elsewhere.
    """
    inputs = {name: value for name, value in fingerprints.items() if name != "models"}
    inputs |= fingerprints.get("models", {})
    return (
        {"the command": command}
        | {name: value for name, value in params.items() if name not in PATHS}
        | {f"the fingerprint of {name}": value for name, value in inputs.items()}
    )


def write_atomically(path: Path, text: str):
    """Writes a file whole or not at all: a full disk or a kill leaves the old one, or none.

    Raises StepimpError where it cannot be written.
    """
    with writing(path) as scratch, open(scratch, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


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
    {"models": {name: hex}, "data": hex}. Of several processes each has a journal, and the first one
    writes the document.
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
        self.processes, self.clock = Processes(), time.perf_counter()
        require_same(self.processes, work_of(command, params, fingerprints))
        self.started = self.processes.from_first(
            lambda: datetime.now(UTC).isoformat(timespec="seconds")
        )
        self.commit = git_commit()  # of the code that runs, whatever is committed meanwhile
        self.key = run_key(command, params, fingerprints)
        self.path = results_folder(out) / f"{command}-{self.key}.json"

    @property
    def journal_path(self) -> Path:
        """The first process's journal."""
        return self.path.with_suffix(".journal")

    def journal(self, check: Check = anything) -> Journal:
        """This process's journal, with the units of all journals of the run in the folder.

        check: of the results that are read.
        """
        return open_journal(self.journal_path, self.key, check, self.processes.rank)

    def provenance(self) -> dict:
        """Where the document comes from: versions, command line, device, fingerprints and times."""
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

        It becomes the newest one of its folder, and says where its family and its text lie now.
        """
        return self.processes.from_first(self._finished)

    def _finished(self) -> dict | None:
        if not self.path.exists():
            return None
        document = read_document(self.path)
        if document["provenance"]["version"] != __version__:
            return None
        places = {name: self.params[name] for name in PATHS if name in self.params}
        if document["params"] | places == document["params"]:
            self.path.touch()
            return document
        document["params"] |= places
        document["provenance"]["command_line"] = self.provenance()["command_line"]
        del document["path"]
        write_atomically(self.path, in_lines(document))
        return {**document, "path": str(self.path)}

    def finish(self, rows: Sequence[Mapping[str, Any]], **extra) -> dict:
        """Writes the document, `extra` parts beside the rows, and returns it with its "path"."""
        document = self.processes.from_first(lambda: self._write(rows, extra))
        for journal in journals_beside(self.journal_path):
            journal.unlink(missing_ok=True)
        return document

    def _write(self, rows: Sequence[Mapping[str, Any]], extra: dict) -> dict:
        document = {
            "schema": SCHEMA,
            "command": self.command,
            "params": self.params,
            "provenance": self.provenance(),
            "rows": rows,
            **extra,
        }
        write_atomically(self.path, in_lines(finite(document)))
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
