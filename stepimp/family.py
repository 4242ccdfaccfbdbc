"""A family folder, its manifest, and the way from a model's name to a denoiser."""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from stepimp.errors import StepimpError
from stepimp.results import write_atomically

MANIFEST = "family.json"
SCHEMA = "stepimp-family/1"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
FACTS = {"blocks", "seed", "heldout_nelbo_nats"}  # what the manifest says of each member at least


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
    """The given folder, else the bundled family docs. The name of a bundled family means that one, unless there is a
    family in a folder of this name."""
    bundled = Path(str(files("stepimp.fixtures"))) / (folder or "docs")
    if folder and (folder != bundled.name or (Path(folder) / MANIFEST).exists() or not (bundled / MANIFEST).exists()):
        return Path(folder).expanduser()
    return bundled


def recorded(family: str | None) -> str | None:
    """A family as results name it, from whatever directory: a bundled one by its name, docs by None, others by path."""
    folder = family_folder(family).resolve()
    if folder.parent != family_folder().resolve().parent:
        return str(folder)
    return None if folder == family_folder().resolve() else folder.name


def read_manifest(folder: Path) -> dict:
    """The family's manifest, empty if the folder has none yet."""
    file = Path(folder) / MANIFEST
    if not file.exists():
        return {"schema": SCHEMA, "members": {}}
    try:
        manifest = json.loads(file.read_text("utf-8"))
        if manifest["schema"] == SCHEMA and all(FACTS <= facts.keys() for facts in manifest["members"].values()):
            return manifest
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise StepimpError(f"{file} is damaged or no family manifest of this version ({SCHEMA}): train the family again.")


def write_manifest(folder: Path, manifest: dict):
    write_atomically(Path(folder) / MANIFEST, json.dumps(manifest, indent=1) + "\n")


def corpus(folder: Path) -> str:
    """The text that a family was trained on, as --data has it; docs where its manifest does not say."""
    return next((facts["data"] for facts in read_manifest(folder)["members"].values() if "data" in facts), "docs")


def resolve(name: str, folder: Path) -> str:
    """The checkpoint a model name means: a member of the family, else a path or a hub id."""
    members = read_manifest(folder)["members"]
    if name in members:
        return str((folder / name).absolute())
    if Path(name).expanduser().exists() or HUB_ID.fullmatch(name):
        return name
    known = f"the family in {folder} has {', '.join(members)}" if members else f"there is no family in {folder}"
    raise StepimpError(f"Unknown model {name!r}: {known}. A checkpoint folder or hub id works too.")


def open_tokenizer(source: str):
    """A transformers tokenizer from a folder or the hub."""
    from transformers import AutoTokenizer

    from stepimp.data import offline_unless_reachable

    if not Path(source).is_dir():
        offline_unless_reachable()
    try:
        return AutoTokenizer.from_pretrained(source)
    except Exception as error:  # transformers and tokenizers share no exception type
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise StepimpError(f"Cannot load the tokenizer of {source}: {reason}") from None


def load_tokenizer(checkpoint: str):
    """The checkpoint's own tokenizer; GPT-2's for the public MDLM checkpoints, which ship none."""
    folder = Path(checkpoint).expanduser()
    if any((folder / file).exists() for file in TOKENIZER_FILES):
        return open_tokenizer(str(folder))
    if not folder.is_dir():
        with suppress(StepimpError):
            return open_tokenizer(checkpoint)
    try:
        return open_tokenizer("gpt2")
    except StepimpError:
        raise StepimpError(
            f"{checkpoint} has no tokenizer, and GPT-2's could not be fetched: put a tokenizer.json beside the weights."
        ) from None


def load(names, folder: Path, device="auto", dtype="float32", attn="auto") -> Family:
    """Loads models by name and checks that they can run together.

    Raises StepimpError for an unknown name, a broken checkpoint, or a different tokenizer, vocabulary, mask token or
    noise schedule.
    """
    from stepimp.data import tokenizer_fingerprint
    from stepimp.denoisers import load_checkpoint

    checkpoints = {name: resolve(name, Path(folder)) for name in dict.fromkeys(names)}
    denoisers = {name: load_checkpoint(path, device, dtype, attn) for name, path in checkpoints.items()}
    tokenizers = {name: load_tokenizer(path) for name, path in checkpoints.items()}
    for name, tokenizer in tokenizers.items():
        if len(tokenizer) > denoisers[name].vocab_size:
            raise StepimpError(
                f"{name}: its tokenizer has {len(tokenizer)} tokens and the model {denoisers[name].vocab_size}: "
                "put the right tokenizer.json beside the weights."
            )
    first, *others = denoisers
    for other in others:
        for what in ("vocab_size", "mask_id", "noise"):
            a, b = getattr(denoisers[first], what), getattr(denoisers[other], what)
            if a != b:
                raise StepimpError(f"{first} and {other} are not of one family: {what} is {a} in one, {b} in another.")
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
        rows.append({"name": name, "blocks": model.blocks, "seed": found[name]["seed"],
                     "heldout_nelbo_nats": found[name]["heldout_nelbo_nats"], "fingerprint": model.fingerprint,
                     "parameters": sum(p.numel() for p in model.parameters())})  # fmt: skip
    return rows
