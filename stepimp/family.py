"""A family folder, its manifest, and the way from a model's name to a denoiser."""

import json
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from stepimp.errors import StepimpError

MANIFEST = "family.json"
SCHEMA = "stepimp-family/1"


@dataclass(frozen=True)
class Family:
    """Denoisers that go together: model name -> denoiser, and the tokenizer they share."""

    denoisers: dict
    tokenizer: object

    @property
    def blocks(self) -> dict[str, int]:
        return {name: model.blocks for name, model in self.denoisers.items()}

    @property
    def fingerprints(self) -> dict[str, str]:
        return {name: model.fingerprint for name, model in self.denoisers.items()}

    @property
    def any(self):
        """One of the denoisers, for what all of them agree on."""
        return next(iter(self.denoisers.values()))


def family_folder(folder: str | None = None) -> Path:
    """The given folder, else the bundled family."""
    return Path(folder).expanduser() if folder else Path(str(files("stepimp.fixtures"))) / "docs"


def read_manifest(folder: Path) -> dict:
    """The family's manifest, empty if the folder has none yet."""
    file = Path(folder) / MANIFEST
    if not file.exists():
        return {"schema": SCHEMA, "members": {}}
    try:
        manifest = json.loads(file.read_text("utf-8"))
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise StepimpError(f"{file} is no family manifest of this version ({SCHEMA}): train the family again.")
    return manifest


def write_manifest(folder: Path, manifest: dict):
    scratch = Path(folder) / (MANIFEST + ".tmp")
    scratch.write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    os.replace(scratch, Path(folder) / MANIFEST)


def resolve(name: str, folder: Path) -> str:
    """The checkpoint a model name means: a member of the family, else a path or a hub id."""
    members = read_manifest(folder)["members"]
    if name in members:
        return str(folder / name)
    if Path(name).expanduser().exists() or name.count("/") == 1:
        return name
    known = ", ".join(members) or "none"
    raise StepimpError(f"Unknown model {name!r}: the family in {folder} has {known}. A checkpoint folder or hub id works too.")


def load_tokenizer(checkpoint: str):
    """The checkpoint's own tokenizer; GPT-2's for the public MDLM checkpoints, which ship none."""
    from transformers import AutoTokenizer

    local = Path(checkpoint).is_dir()
    source = checkpoint if (not local or (Path(checkpoint) / "tokenizer.json").exists()) else "gpt2"
    for candidate in dict.fromkeys((source, "gpt2")):
        try:
            return AutoTokenizer.from_pretrained(candidate)
        except (OSError, ValueError):
            continue
    raise StepimpError(f"{checkpoint} has no tokenizer.json, and GPT-2's could not be fetched: put one beside the weights.")


def load(names, folder: Path, device="auto", dtype="float32", attention="auto") -> Family:
    """Loads models by name and checks that they can run together.

    Raises StepimpError for an unknown name, a broken checkpoint, or a different tokenizer, vocabulary, mask token or
    noise schedule.
    """
    from stepimp.data import tokenizer_fingerprint
    from stepimp.denoisers import load_checkpoint

    checkpoints = {name: resolve(name, Path(folder)) for name in dict.fromkeys(names)}
    denoisers = {name: load_checkpoint(path, device, dtype, attention) for name, path in checkpoints.items()}
    tokenizers = {name: load_tokenizer(path) for name, path in checkpoints.items()}
    first, *others = denoisers
    for other in others:
        for what in ("vocab_size", "mask_id", "noise"):
            a, b = getattr(denoisers[first], what), getattr(denoisers[other], what)
            if a != b:
                raise StepimpError(f"{first} and {other} are not of one family: {what} is {a} in one, {b} in the other.")
        if tokenizer_fingerprint(tokenizers[first]) != tokenizer_fingerprint(tokenizers[other]):
            raise StepimpError(f"{first} and {other} are not of one family: their tokenizers differ.")
    return Family(denoisers, tokenizers[first])


def members(folder: Path) -> list[dict]:
    """Name, blocks, parameters, seed, held-out NELBO and weight fingerprint of each member of a family folder."""
    from stepimp.denoisers import load_checkpoint

    found = read_manifest(folder)["members"]
    if not found:
        raise StepimpError(f"{folder} holds no family: train one with stepimp train {folder}.")
    rows = []
    for name in sorted(found, key=lambda name: (found[name]["blocks"], name)):
        model = load_checkpoint(str(folder / name), device="cpu")
        rows.append({"name": name, **{key: found[name][key] for key in ("blocks", "seed", "heldout_nelbo_nats")},
                     "parameters": sum(p.numel() for p in model.parameters()), "fingerprint": model.fingerprint})  # fmt: skip
    return rows
