"""Which results each figure, table and claim of the paper needs, which document fills a need, and
what makes one.

A need is what the paper measured once: curves, the search, or one comparison of schedules.
Documents are told apart by what their rows and params say; of several that fit, the newest counts.
The paper's openwebtext is the family asked for (by default the bundled docs), its LM1B is a family
called code."""

import shlex
from pathlib import Path

from stepimp.columns import view
from stepimp.errors import StepimpError
from stepimp.models.family import family_folder
from stepimp.paper.numbers import paper
from stepimp.paper.peak import listing
from stepimp.results import read_document
from stepimp.schedules.schedule import Schedule, parse, quarters, sandwich

LM1B = "code"
LENGTH = 64  # tokens of a sample of the bundled docs, where no document tells
LIGHTS = ["4b", "6b", "8b", "10b"]
HAND_CRAFTED = (
    "all-light",
    "1st quarter",
    "2nd quarter",
    "3rd quarter",
    "4th quarter",
    "sandwich",
    "all-heavy",
)


def judge_name(document: dict) -> str:
    """The judge in words: a folder's path differs between machines."""
    name = Path(document["params"]["judge"]).name
    return "the family's judge" if name == "judge" else f"judge {name}"


def family_name(document: dict) -> str:
    return family_folder(document["params"].get("family")).name


def sampled(document: dict) -> str:
    """Models, samples, judge and version behind a comparison of schedules or a search."""
    params = document["params"]
    lights = listing(params["lights"]) if "lights" in params else params["light"]
    given = params.get("prefix_length")
    tokens = f"{params['length']} tokens" + (f", the first {given} given" if given else "")
    return (
        f"Family {family_name(document)}, heavy {params['heavy']}, light {lights}; {params['samples']} samples per "
        f"schedule of {tokens}; T = {params['steps']}; {judge_name(document)}; stepimp "
        f"{document['provenance']['version']}."
    )


def in_the_paper(document: dict) -> str:
    """What the paper measured where a document has this."""
    setup, command = paper()["setup"], document["command"]
    own = setup["lm1b" if family_name(document) == LM1B else "owt"]
    trained = f"models of width {setup['hidden_size']} trained on {own['dataset']}"
    if command not in ("compare", "search"):
        curves = setup["similarity"]
        return f"The paper: {trained}, {curves['sequences_per_timestep']} sequences of {curves['length']} tokens."
    samples = setup["search"]["samples_per_schedule"] if command == "search" else own.get("samples")
    counted = f"{samples} samples" if samples else "samples"
    return f"The paper: {trained}, {counted} of {own['length']} tokens, T = {own['steps_T']}, judge GPT-2."


def lightest(document: dict) -> str:
    """The shallowest light model of a comparison."""
    return min(document["params"]["lights"], key=document["blocks"].get)


def plan(row: dict, document: dict) -> Schedule:
    """The schedule of a row of `compare`."""
    return parse(row["schedule"], document["params"]["heavy"], row["light"])


def hand_crafted(document: dict) -> dict[str, dict]:
    """{name: row} of the paper's seven schedules with the lightest model, as far as a comparison
    has them.
    """
    params, light = document["params"], lightest(document)
    heavy, steps = params["heavy"], params["steps"]
    known = [
        Schedule.of([light] * steps),
        *quarters(steps, heavy, light),
        sandwich(steps, round(steps / 4), heavy, light),
        Schedule.of([heavy] * steps),
    ]
    rows = {plan(row, document): row for row in document["rows"] if row["light"] in (light, None)}
    return {name: rows[one] for name, one in zip(HAND_CRAFTED, known) if one in rows}


def sandwiches(document: dict) -> list[dict]:
    """The rows of a comparison that are light at both ends alike, or heavy or light throughout."""
    heavy = document["params"]["heavy"]
    found = []
    for row in document["rows"]:
        own = plan(row, document)
        light_steps = sum(count for name, count in own.segments if name != heavy)
        if own == sandwich(own.steps, light_steps, heavy, row["light"] or heavy):
            found.append(row)
    return found


def by_light(document: dict) -> dict[str, dict]:
    """{light model: its row} with a quarter of the steps light in a sandwich, the shallowest model
    first.
    """
    rows = {
        row["light"]: row
        for row in sandwiches(document)
        if abs(row["light_fraction"] - 0.25) < 0.01
    }
    return {light: rows[light] for light in sorted(rows, key=document["blocks"].get)}


def by_fraction(document: dict) -> dict[int, dict]:
    """{percent of light steps: its row} of the sandwiches with the lightest model, least first."""
    own = (lightest(document), None)
    rows = {
        round(100 * row["light_fraction"]): row
        for row in sandwiches(document)
        if row["light"] in own
    }
    return dict(sorted(rows.items()))


def unprefixed(document: dict) -> bool:
    return not document["params"]["prefix_length"]


def complete(document: dict) -> bool:
    """Whether a comparison has all seven hand-crafted schedules."""
    return len(hand_crafted(document)) == len(HAND_CRAFTED)


def prefixed(document: dict, part: int) -> bool:
    """Whether all seven were compared after a prefix of one part-th of the length."""
    params = document["params"]
    return params["prefix_length"] * part == params["length"] and complete(document)


# need: (command, what a document of it must fulfil)
NEEDS = {
    "loss": ("loss", lambda document: True),
    "kl": ("kl", lambda document: True),
    "recommend": ("recommend", lambda document: True),
    "light_fractions": (
        "compare",
        lambda document: unprefixed(document) and len(by_fraction(document)) > 3,
    ),
    "unconditional": ("compare", lambda document: unprefixed(document) and complete(document)),
    "light_sizes": (
        "compare",
        lambda document: unprefixed(document) and len(by_light(document)) > 1,
    ),
    "prefix_256": ("compare", lambda document: prefixed(document, 4)),
    "prefix_128": ("compare", lambda document: prefixed(document, 8)),
    "lm1b": ("compare", lambda document: unprefixed(document) and complete(document)),
    "search": ("search", lambda document: True),
    "profile": ("profile", lambda document: True),
}


def recipe(need: str, steps: int = 1000, length: int = LENGTH) -> list[str]:
    """The arguments of stepimp that fill a need, but for --family. steps: T; length: tokens of a
    sample.
    """
    lights = [part for light in LIGHTS for part in ("--light", light)]
    curves = ["--heavy", "12b", *lights, "--baseline", "12b_seed2"]
    quarter = sandwich(steps, round(steps / 4), "12b", "4b").format("12b", "4b")
    return {
        "loss": ["loss", *curves],
        "kl": ["kl", *curves],
        "recommend": ["recommend", "--budget", "0.25"],
        "light_fractions": ["compare", "--fractions", "0:1:0.1"],
        "unconditional": ["compare"],
        "light_sizes": ["compare", "--schedule", quarter, *lights],
        "prefix_256": ["compare", "--prefix-length", str(length // 4)],
        "prefix_128": ["compare", "--prefix-length", str(length // 8)],
        "lm1b": ["compare"],
        "search": ["search"],
        "profile": ["profile"],
    }[need]


def family_options(need: str, family: str | None) -> list[str]:
    """--family as a need has it."""
    folder = LM1B if need == "lm1b" else family
    return ["--family", folder] if folder else []


def made_by(need: str, family: str | None = None, documents: dict | None = None) -> str:
    """The command line that fills a need. documents: those there are, which know family and length
    of samples.
    """
    known = [one["params"] for of, one in (documents or {}).items() if one and of != "lm1b"]
    family = family or next((params["family"] for params in known if params.get("family")), None)
    length = next((params["length"] for params in known if "length" in params), LENGTH)
    return shlex.join(["stepimp", *recipe(need, length=length), *family_options(need, family)])


def kinds(need: str) -> set[str]:
    """The kinds of document that can fill a need. loss and kl are views of the curves; earlier
    versions wrote a document of each.
    """
    command, _ = NEEDS[need]
    return {command, "curves"} if need in ("loss", "kl") else {command}


def find_documents(results, family: str | None = None) -> dict[str, dict | None]:
    """{need: the newest document that fills it, or None}. Raises StepimpError for a damaged or
    incomplete document.
    """
    wanted = set().union(*map(kinds, NEEDS))
    paths = [
        path
        for path in Path(results).expanduser().glob("*.json")
        if path.name.split("-")[0] in wanted
    ]
    documents = [
        read_document(path)
        for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)
    ]
    found = {
        need: next((one for one in documents if fills(one, need, family)), None) for need in NEEDS
    }
    views = {need: view(found[need], need) for need in ("loss", "kl") if found[need]}
    return found | views


def fills(document: dict, need: str, family: str | None) -> bool:
    """Whether a document is what a need asks for."""
    _, fits = NEEDS[need]
    if document["command"] not in kinds(need):
        return False
    own = family_folder(document["params"].get("family")).resolve()
    right = own.name == LM1B if need == "lm1b" else own == family_folder(family).resolve()
    try:
        return right and fits(document)
    except LookupError as error:
        raise incomplete([document], error) from None


def incomplete(documents: list[dict], error: LookupError) -> StepimpError:
    """What to say of results that lack a part."""
    sources = ", ".join(document["path"] for document in documents)
    return StepimpError(f"{sources} is incomplete ({error}). Delete it and make it anew.")
