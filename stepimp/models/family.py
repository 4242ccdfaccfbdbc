"""A family folder, its manifest, and the way from a model's name to a denoiser."""

import json
import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import NotRequired, TypedDict

from stepimp.checks import fault, parsed
from stepimp.errors import StepimpError
from stepimp.models.headers import count_parameters
from stepimp.results import write_atomically
from stepimp.text.files import source_name
from stepimp.wording import nearest

MANIFEST = "family.json"
SCHEMA = "stepimp-family/1"
OTHER_SEED = re.compile(r"_seed\d+$")  # how training names a member of another seed
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")  # ./name and ../name are paths
HUB_FILE = re.compile(r"(\w[\w.-]*/[\w.-]+)/(.+\.(?:safetensors|ckpt))")
NAME = re.compile(r"\w[\w.-]*")  # of a member: its folder lies inside the family's


class Trained(TypedDict):
    """What is read of a member's recipe."""

    steps: int


class Facts(TypedDict):
    """What the manifest says of a member; the first three at least."""

    blocks: int
    seed: int
    heldout_nelbo_nats: float | None
    heldout_sequences: NotRequired[int]
    fingerprint: NotRequired[str | None]
    checkpoint: NotRequired[str]
    seed_of: NotRequired[str]
    data: NotRequired[str]
    column: NotRequired[str]
    data_fingerprint: NotRequired[str]
    teacher_fingerprint: NotRequired[str | None]
    command: NotRequired[str]
    recipe: NotRequired[Trained]
    parameters: NotRequired[int]
    layout: NotRequired[str]
    block_flops: NotRequired[float]
    max_length: NotRequired[int]


class Manifest(TypedDict):
    """The content of family.json."""

    schema: str
    members: dict[str, Facts]


def is_bundled(path: str) -> bool:
    """Whether a checkpoint is one of the package."""
    return Path(path).is_relative_to(str(files("stepimp.fixtures")))


def family_folder(folder: str | None = None) -> Path:
    """The given folder, else the bundled family docs. The name of a bundled family means it,
    unless there is a family in a folder of this name.
    """
    bundled = Path(str(files("stepimp.fixtures"))) / (folder or "docs")
    if folder and (
        folder != bundled.name
        or (Path(folder) / MANIFEST).exists()
        or not (bundled / MANIFEST).exists()
    ):
        return Path(folder).expanduser()
    return bundled


def recorded(family: str | None) -> str | None:
    """A family as results name it, from whatever directory: a bundled one by its name, docs by
    None, others by path.
    """
    folder = family_folder(family).resolve()
    if folder.parent != family_folder().resolve().parent:
        return str(folder)
    return None if folder == family_folder().resolve() else folder.name


def read_manifest(folder: Path) -> dict:
    """The family's manifest, empty if the folder has none yet.

    Raises StepimpError for a damaged one, or one of another version.
    """
    file = Path(folder) / MANIFEST
    if not file.exists():
        return {"schema": SCHEMA, "members": {}}
    try:
        manifest = parsed(file.read_bytes(), names=True)
        wrong = manifest_fault(manifest)
    except ValueError as error:
        wrong = str(error)
    if wrong:
        raise StepimpError(f"{file} is damaged: {wrong}. {rescue(Path(folder))}")
    return manifest


def manifest_fault(manifest) -> str:
    """What keeps a JSON value from being a manifest, in words; empty where nothing does."""
    if text := fault(manifest, Manifest):
        return text
    if manifest["schema"] != SCHEMA:
        return f"it is not a manifest of this version ({SCHEMA})"
    for name, facts in manifest["members"].items():
        if not NAME.fullmatch(name):
            return f"{name!r} is not the name of a member"
        if facts["blocks"] < 1:
            return f"members.{name}.blocks is {facts['blocks']}"
    return ""


def rescue(folder: Path) -> str:
    """What helps where the manifest of a folder is damaged: its members can be added again."""
    members = sorted(
        file.parent.name
        for file in folder.glob("*/config.json")
        if NAME.fullmatch(file.parent.name) and file.parent.name != "judge"
    )
    if not members:
        return "Restore it from a copy, or move it away and make the family again."
    again = "; ".join(f"stepimp family add {folder} {name} {folder / name}" for name in members)
    return f"Restore it from a copy, or move it away and add the members again: {again}"


def write_manifest(folder: Path, manifest: dict):
    """Writes a family's manifest, whole or not at all."""
    write_atomically(Path(folder) / MANIFEST, json.dumps(manifest, indent=1) + "\n")


def replaced(fingerprints: dict[str, str], folder: Path) -> list[str]:
    """The models whose weights are others now, by the manifest of the family in this folder.

    fingerprints: model -> fingerprint of its weights when something was measured.
    """
    members = read_manifest(folder)["members"]
    now = {name: facts.get("fingerprint") for name, facts in members.items()}
    return [name for name, weights in fingerprints.items() if now.get(name) not in (None, weights)]


def corpus(folder: Path) -> str:
    """The text that a family was trained on, as `text.blocks.load_documents` takes it; docs where
    its manifest does not say.
    """
    return next(
        (facts["data"] for facts in read_manifest(folder)["members"].values() if "data" in facts),
        "docs",
    )


def text_column(folder: Path) -> str:
    """The column of the text that a family was trained on, in files with several."""
    members = read_manifest(folder)["members"].values()
    return next((facts["column"] for facts in members if "column" in facts), "text")


def chosen_text(data: str | None, column: str | None, folder: Path) -> tuple[str, str]:
    """The text that is asked for and its column, by default those that a family was trained on; a
    path holds from any working directory.
    """
    text = source_name(data) if data else corpus(folder)
    return text, column or ("text" if data else text_column(folder))


def resolve(name: str, folder: Path) -> str:
    """The checkpoint a model name means: a member of the family, else a path or a hub id."""
    members = read_manifest(folder)["members"]
    if name in members:
        return members[name].get("checkpoint") or str((folder / name).absolute())
    place = Path(name).expanduser()
    if (place / MANIFEST).is_file() and not (place / "config.json").exists():
        raise StepimpError(
            f"{name} is a family, not a model: give it as the family, and as models its members "
            f"{', '.join(read_manifest(place)['members'])}."
        )
    if place.exists() or place.is_symlink() or HUB_ID.fullmatch(name) or HUB_FILE.fullmatch(name):
        return name
    choice = (
        f"the family in {folder} has {', '.join(members)}"
        if members
        else f"there is no family in {folder}"
    )
    if place.is_absolute() or name.startswith("."):
        raise StepimpError(f"There is no file or folder {name}, and {choice}.")
    raise StepimpError(
        f"Unknown model {name!r}: {choice}.{nearest(name, members)} A checkpoint folder or hub id "
        "works too."
    )


def full_name(name: str, folder: Path) -> str:
    """A model's name as results have it: a member's name, a hub id, or the absolute path of a
    checkpoint, which holds from any working directory.
    """
    place = Path(name).expanduser()
    if name in read_manifest(folder)["members"] or not place.exists():
        return name
    return str(place.absolute())


def no_family(folder: Path) -> StepimpError:
    """What to say of a folder without a family."""
    bundled = sorted(file.parent.name for file in family_folder().parent.glob(f"*/{MANIFEST}"))
    return StepimpError(
        f"{folder} holds no family: train one with stepimp train {folder}, or make one of "
        f"checkpoints with stepimp family add {folder}. The bundled families are "
        f"{' and '.join(bundled)}."
    )


def members(folder: Path) -> list[dict]:
    """Name, blocks, parameters, seed, held-out NELBO and weight fingerprint of each member of a
    family folder, shallowest first, from the manifest and the headers of the weights alone.

    The fingerprint is None where an older manifest does not record it.
    """
    facts_by_name = read_manifest(folder)["members"]
    if not facts_by_name:
        raise no_family(folder)
    names = sorted(facts_by_name, key=lambda name: (facts_by_name[name]["blocks"], name))
    rows = []
    for name in names:
        facts = facts_by_name[name]
        counted = facts.get("parameters") or count_parameters(Path(resolve(name, folder)))
        rows.append(
            {
                "name": name,
                "blocks": facts["blocks"],
                "seed": facts["seed"],
                "heldout_nelbo_nats": facts["heldout_nelbo_nats"],
                "fingerprint": facts.get("fingerprint"),
                "parameters": counted,
                "layout": facts.get("layout", "MDLM"),
                "block_flops": facts.get("block_flops"),
                "checkpoint": resolve(name, folder),
            }
        )
    return rows


def default_members(folder: Path) -> tuple[str, str]:
    """(heavy, light): the family's deepest and shallowest member: 12b and 4b in the bundled ones.

    Of several as deep one that is not named as another seed's (12b_seed2), then the lowest seed.
    Raises StepimpError where the manifest lists no two depths.
    """
    members = read_manifest(folder)["members"]
    preferred_last = sorted(
        members,
        key=lambda name: (bool(OTHER_SEED.search(name)), members[name]["seed"]),
        reverse=True,
    )
    depths = {members[name]["blocks"]: name for name in preferred_last}
    if not depths:
        raise no_family(folder)
    if len(depths) < 2:
        raise StepimpError(
            f"All members of the family in {folder} have the same depth: name the heavy and the "
            "light model."
        )
    return depths[max(depths)], depths[min(depths)]


def chosen_members(
    heavy: str | None, lights: Iterable[str], folder: Path
) -> tuple[str, tuple[str, ...]]:
    """The heavy and the light models named, by their `full_name`; where none is named, see
    `default_members`.
    """
    lights = tuple(dict.fromkeys(full_name(light, folder) for light in lights))
    heavy = heavy and full_name(heavy, folder)
    if heavy and lights:
        return heavy, lights
    deepest, shallowest = default_members(folder)
    return heavy or deepest, lights or (shallowest,)


def other_seed(folder: Path, heavy: str) -> str | None:
    """The member that is `heavy` from another seed (the lowest), or None.

    Members that say of which member they are another seed (`seed_of`) are believed; of the others,
    those that were trained as a family, depth and seed decide.
    """
    members = read_manifest(folder)["members"]
    if heavy not in members:
        return None

    def same_but_seed(name: str) -> bool:
        first, other = members[heavy], members[name]
        if first["blocks"] != other["blocks"] or first["seed"] == other["seed"]:
            return False
        if "checkpoint" in first or "checkpoint" in other or "seed_of" in {*first, *other}:
            return first.get("seed_of", heavy) == other.get("seed_of", name)
        return True

    others = [name for name in members if name != heavy and same_but_seed(name)]
    return min(others, key=lambda name: members[name]["seed"], default=None)
