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
from stepimp.documents import SCHEMA, read_document
from stepimp.errors import StepimpError, advice
from stepimp.journals import Check, Journal, anything
from stepimp.scratch import replacing


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

    def journal(self, rank: int = 0, processes: int = 1, check: Check = anything) -> Journal:
        """The journal of one of several processes, with the units of ranks that no longer exist.

        An earlier run may have had more processes; their journals are shared out. check: of the
        results that are read.
        """
        suffix = f".{rank}.journal" if rank else ".journal"
        journal = Journal(self.path.with_suffix(suffix), self.key, check)
        for path in self.journals():
            other = int(path.suffixes[0][1:]) if len(path.suffixes) > 1 else 0
            if other != rank and other % processes == rank:
                journal.done |= Journal(path, self.key, check).done
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
