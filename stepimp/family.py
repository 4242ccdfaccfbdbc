"""A family folder, its manifest, and the way from a model's name to a denoiser."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from stepimp.errors import StepimpError

MANIFEST = "family.json"
SCHEMA = "stepimp-family/1"


def read_manifest(folder: Path) -> dict:
    """The family's manifest, empty if the folder has none yet."""
    file = Path(folder) / MANIFEST
    if not file.exists():
        return {"schema": SCHEMA, "members": {}}
    try:
        manifest = json.loads(file.read_text("utf-8"))
    except ValueError:
        manifest = {}
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise StepimpError(f"{file} is no family manifest of this version ({SCHEMA}): train the family again.")
    return manifest


def write_manifest(folder: Path, manifest: dict):
    scratch = Path(folder) / (MANIFEST + ".tmp")
    scratch.write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    os.replace(scratch, Path(folder) / MANIFEST)
