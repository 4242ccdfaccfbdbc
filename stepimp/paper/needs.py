"""Which results each figure, table and claim of the paper needs, and which document fills a need;
`recipes` has the commands that make one.

A need is what the paper measured once: curves, the search, or one comparison of schedules.
Documents are recognised by their rows and params; of several that fit, the newest counts. The
paper's openwebtext is the family asked for (by default the bundled docs), its LM1B a family called
code.
"""

from collections.abc import Callable
from pathlib import Path

from stepimp.columns import view
from stepimp.documents import headers_in, read_document, skip
from stepimp.errors import StepimpError
from stepimp.models.family import (
    family_folder,
    read_manifest,
)
from stepimp.paper.describe import LM1B
from stepimp.paper.rows import (
    by_fraction,
    by_light,
    has_all_seven,
    light_of_depth,
    lightest,
)

LM1B_NEEDS = ("lm1b", "kl_lm1b")
VIEWS = ("loss", "kl")  # commands that write the same document of curves


def unprefixed(document: dict) -> bool:
    """Whether samples were drawn without a prefix."""
    return not document["params"]["prefix_length"]


def prefix_of(length: int, part: int) -> int:
    """Tokens of a prefix that is one part-th of the length."""
    return max(1, length // part)


def prefixed(document: dict, part: int) -> bool:
    """Whether all seven were compared after a prefix of one part-th of the length."""
    params = document["params"]
    prefix_length = prefix_of(params["length"], part)
    return params["prefix_length"] == prefix_length and has_all_seven(document)


def of_depth(document: dict, paper_blocks: int) -> bool:
    """Whether all seven were compared with the light model of this depth."""
    light = light_of_depth(document, paper_blocks)
    return unprefixed(document) and light is not None and has_all_seven(document, light)


def as_lm1b(document: dict) -> bool:
    """Whether all seven were compared with as many steps as tokens, as the paper does on LM1B."""
    params = document["params"]
    return unprefixed(document) and params["steps"] == params["length"] and has_all_seven(document)


def anything(document: dict) -> bool:
    """The check that accepts every document."""
    return True


def over_t(document: dict) -> bool:
    """Whether curves are over t, as the paper's, and not over the number of masked positions."""
    return not document["params"].get("by_masked")


# need: (command, what a document of it must fulfil)
NEEDS: dict[str, tuple[str, Callable[[dict], bool]]] = {
    "loss": ("loss", over_t),
    "kl": ("kl", over_t),
    "recommend": ("recommend", anything),
    "masked": ("recommend_masked", anything),
    "plan": ("plan", anything),
    "policies": ("policies", anything),
    "unconditional": ("compare", lambda it: unprefixed(it) and has_all_seven(it)),
    "light_6": ("compare", lambda it: of_depth(it, 6)),
    "light_8": ("compare", lambda it: of_depth(it, 8)),
    "light_10": ("compare", lambda it: of_depth(it, 10)),
    "light_sizes": ("compare", lambda it: unprefixed(it) and len(by_light(it)) > 1),
    "light_fractions": ("compare", lambda it: unprefixed(it) and len(by_fraction(it)) > 3),
    "prefix_256": ("compare", lambda it: prefixed(it, 4)),
    "prefix_128": ("compare", lambda it: prefixed(it, 8)),
    "search": ("search", anything),
    "profile": ("profile", anything),
    "kl_lm1b": ("kl", over_t),
    "lm1b": ("compare", as_lm1b),
}


# need: those whose documents its command reads, where they are there
READS = {
    "recommend": ("kl",),
    "plan": ("masked",),
    "unconditional": ("recommend",),
    "search": ("kl",),
}
# needs whose light model is the family's shallowest
SHALLOWEST = ("unconditional", "light_fractions", "prefix_256", "prefix_128", "lm1b")


def kinds(need: str) -> set[str]:
    """The kinds of document that can fill a need. loss and kl are views of the curves; earlier
    versions wrote a document of each.
    """
    command, _ = NEEDS[need]
    return {command, "curves"} if command in VIEWS else {command}


def find_documents(results, family: str | None = None) -> dict[str, dict | None]:
    """{need: the newest document that fills it, or None}. A damaged document is skipped with a
    warning.
    """
    headers = list(headers_in(results, tuple(set().union(*map(kinds, NEEDS)))))
    # When a run began, not when its file was written: a copy or a clone keeps the order.
    headers.sort(key=lambda header: header["provenance"].get("started", ""), reverse=True)
    newest: dict[str, dict | None] = dict.fromkeys(NEEDS)
    for header in headers:
        open_needs = [need for need in NEEDS if not newest[need] and may_fill(header, need, family)]
        try:
            document = read_document(header["path"]) if open_needs else header
            filled = [need for need in open_needs if fills(document, need, family)]
        except StepimpError as error:
            skip(str(error))
            continue
        for need in filled:
            command, _ = NEEDS[need]
            newest[need] = view(document, command) if command in VIEWS else document
    return newest


def may_fill(header: dict, need: str, family: str | None) -> bool:
    """Whether a document can be what a need asks for, by the parts before its rows."""
    if header["command"] not in kinds(need):
        return False
    folder = family_folder(header["params"].get("family")).resolve()
    if need in LM1B_NEEDS:
        return folder.name == LM1B
    return folder == family_folder(family).resolve()


def fills(document: dict, need: str, family: str | None) -> bool:
    """Whether a document is what a need asks for."""
    _, fits = NEEDS[need]
    if not may_fill(document, need, family):
        return False
    folder = family_folder(document["params"].get("family")).resolve()
    try:
        if need in SHALLOWEST and not shallowest_compared(document, folder):
            return False
        return fits(document)
    except (LookupError, StepimpError) as error:
        raise incomplete([document], error) from error


def shallowest_compared(document: dict, folder: Path) -> bool:
    """Whether a comparison has the shallowest model of its family, as far as that is there."""
    members = read_manifest(folder)["members"].values()
    least = min((facts["blocks"] for facts in members), default=0)
    return not least or document["blocks"][lightest(document)] <= least


def incomplete(documents: list[dict], error: Exception) -> StepimpError:
    """What to say of results that lack a part."""
    sources = ", ".join(document["path"] for document in documents)
    return StepimpError(f"{sources} is incomplete ({error}). Move it away and make it anew.")
