"""The command line that fills a need, for any family whose models are in the paper's roles."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stepimp.checks import parsed
from stepimp.errors import StepimpError
from stepimp.models.family import (
    default_members,
    family_folder,
    no_family,
    other_seed,
    read_manifest,
    resolve,
)
from stepimp.paper.describe import LM1B
from stepimp.paper.needs import LM1B_NEEDS, prefix_of

LM1B_LENGTH = 128  # tokens, and as many steps, of the paper's LM1B


@dataclass(frozen=True)
class Members:
    """The models of a family in the paper's roles. lights: the shallowest first; length: tokens
    that all of them take.
    """

    heavy: str
    lights: tuple[str, ...]
    other_seed: str | None
    length: int


BUNDLED = Members("12b", ("4b", "6b", "8b", "10b"), "12b_seed2", 256)


def members_of(folder: Path) -> Members:
    """A family's models by role. Raises StepimpError where the folder holds no family."""
    facts = read_manifest(folder)["members"]
    if not facts:
        raise no_family(folder)
    heavy, _ = default_members(folder)
    depths: dict[int, str] = {}
    for name in sorted(facts, key=lambda name: (facts[name]["seed"], name)):
        depths.setdefault(facts[name]["blocks"], name)
    depths.pop(facts[heavy]["blocks"])
    lights = tuple(depths[blocks] for blocks in sorted(depths))
    length = min(longest(name, folder, facts[name]) for name in facts)
    return Members(heavy, lights, other_seed(folder, heavy), length)


def longest(name: str, folder: Path, facts: dict) -> int:
    """Most tokens that a member reads, by the manifest or its config.json."""
    if "max_length" in facts:
        return facts["max_length"]
    file = Path(resolve(name, folder)) / "config.json"
    try:
        return parsed(file.read_bytes())["model_length"]
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise StepimpError(f"{file} is missing or damaged: {error}.") from error


def members_or_bundled(folder: Path) -> Members:
    """Names to write a command with: the bundled family's where the folder holds no family."""
    return members_of(folder) if read_manifest(folder)["members"] else BUNDLED


def recipe(need: str, members: Members, bundled: bool = True) -> list[str]:
    """The arguments of stepimp that fill a need, but for the family and the sample sizes.

    bundled: whether the commands' default models, 12b and 4b, are the family's.
    """
    # The only options of commands that the library names: a need is defined by the command line
    # that fills it, which reproduce runs, figures and reports print, and documents record.
    every_light = [part for light in members.lights for part in ("--light", light)]
    other = ["--baseline", members.other_seed] if members.other_seed else []
    heavy = [] if bundled else ["--heavy", members.heavy]
    pair = [] if bundled else [*heavy, "--light", members.lights[0]]
    curves = ["--heavy", members.heavy, *every_light, *other]
    all_sizes = ["compare", *heavy, *every_light]
    steps = min(LM1B_LENGTH, members.length)
    cut = ["--length", str(LM1B_LENGTH)] if members.length > LM1B_LENGTH else []
    return {
        "loss": ["loss", *curves],
        "kl": ["kl", *curves],
        "recommend": ["recommend", "--budget", "0.25", *pair],
        "masked": ["recommend", "--over", "masked", *heavy, *every_light],
        "plan": ["plan", "--forwards", str(max(1, members.length // 4)), *heavy, *every_light],
        "policies": ["compare", "--policies", *pair],
        "unconditional": all_sizes,
        "light_6": all_sizes,
        "light_8": all_sizes,
        "light_10": all_sizes,
        "light_sizes": all_sizes,
        "light_fractions": ["compare", "--fractions", "0:1:0.1", *pair],
        "prefix_256": ["compare", "--prefix-length", str(prefix_of(members.length, 4)), *pair],
        "prefix_128": ["compare", "--prefix-length", str(prefix_of(members.length, 8)), *pair],
        "search": ["search", *pair],
        "profile": ["profile", *pair],
        "kl_lm1b": ["kl", *curves],
        "lm1b": ["compare", *pair, "--steps", str(steps), *cut],
    }[need]


def family_of(need: str, family: str | None) -> str | None:
    """The family that a need is measured on: the code family for LM1B, else the one asked for."""
    return LM1B if need in LM1B_NEEDS else family


def is_bundled(folder: Path) -> bool:
    """Whether a folder is that of a bundled family."""
    return folder.resolve().parent == family_folder().resolve().parent


def arguments(
    need: str, family: str | None = None, sizes: Sequence[str] = (), light: str | None = None
) -> list[str]:
    """The arguments of stepimp that fill a need. sizes: the options for how much is measured;
    light: the one light model of the comparison, by default those that the need asks for.
    """
    name = family_of(need, family)
    folder = family_folder(name)
    bundled = is_bundled(folder) or not read_manifest(folder)["members"]
    members = members_or_bundled(folder)
    if light:
        members = replace(members, lights=(light,))
    family_option = ["--family", name] if name else []
    return [*recipe(need, members, bundled), *sizes, *family_option]


def named_family(family: str | None, documents: dict | None) -> str | None:
    """The family asked for, else the one that documents by need name."""
    params = [
        document["params"]
        for need, document in (documents or {}).items()
        if document and need not in LM1B_NEEDS
    ]
    named = (recorded["family"] for recorded in params if recorded.get("family"))
    return family or next(named, None)


def made_by(need: str, family: str | None = None, documents: dict | None = None) -> str:
    """The command line that fills a need. documents: by need; the family is taken from them if none
    is given.
    """
    return shlex.join(["stepimp", *arguments(need, named_family(family, documents))])
