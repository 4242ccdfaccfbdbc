"""In a sentence: what was measured in a results document, and what the paper measured there."""

from importlib.resources import files
from pathlib import Path

from stepimp.models.family import family_folder
from stepimp.paper.numbers import paper

LM1B = "code"  # the family in the role of the paper's LM1B
REFERENCE = "Shipped reference run, not measured on this machine. "


def reference_folder() -> Path:
    """The results of the run on the bundled families that is shipped with stepimp."""
    return Path(str(files("stepimp.fixtures"))) / "reference"


def is_reference(document: dict) -> bool:
    """Whether a document is one of the shipped reference run."""
    path = document.get("path")
    return path is not None and Path(path).resolve().parent == reference_folder().resolve()


def listing(names: list[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def family_name(document: dict) -> str:
    """The name of the family that a document is about."""
    return family_folder(document["params"].get("family")).name


def judge_name(document: dict) -> str:
    """The judge in words: a folder's path differs between machines."""
    name = Path(document["params"]["judge"]).name
    return "the family's judge" if name == "judge" else f"judge {name}"


def origin(document: dict) -> str:
    """Said first where the numbers are the reference run's, else nothing."""
    return REFERENCE if is_reference(document) else ""


def sampled(document: dict, light: str | None = None) -> str:
    """Models, samples, judge and version behind a comparison of schedules or a search.

    light: the light model shown, where not all of the document's are.
    """
    params = document["params"]
    lights = light or (listing(params["lights"]) if "lights" in params else params["light"])
    given = params.get("prefix_length")
    prefix = f", the first {given} given" if given else ""
    return (
        f"{origin(document)}Family {family_name(document)}, heavy {params['heavy']}, light "
        f"{lights}; {params['samples']} samples per schedule of {params['length']} tokens{prefix}; "
        f"T = {params['steps']}; {judge_name(document)}; stepimp "
        f"{document['provenance']['version']}."
    )


def measured(document: dict) -> str:
    """Models, sequences, corpus and version behind the curves of a document."""
    rows = document.get("curves", document["rows"])
    params = document.get("curve_params", document["params"])
    counts = sorted({row["sequences"] for row in rows})
    sequences = " to ".join(str(count) for count in dict.fromkeys([counts[0], counts[-1]]))
    sampled_inputs = params["inputs"] == "samples"
    corpus = f"sampled from {params['heavy']}" if sampled_inputs else f"of {params['data']}"
    baseline = f", other seed {params['baseline']}" if params["baseline"] else ""
    return (
        f"{origin(document)}Family {family_name(document)}, heavy {params['heavy']}, light "
        f"{listing(params['lights'])}{baseline}; {sequences} sequences {corpus}; stepimp "
        f"{document['provenance']['version']}."
    )


def in_the_paper(document: dict) -> str:
    """What the paper measured in the place of a document."""
    setup, command = paper()["setup"], document["command"]
    data = setup["lm1b" if family_name(document) == LM1B else "owt"]
    trained = f"models of width {setup['hidden_size']} trained on {data['dataset']}"
    if command not in ("compare", "search"):
        curves = setup["similarity"]
        return (
            f"The paper: {trained}, {curves['sequences_per_timestep']} sequences of "
            f"{data['length']} tokens."
        )
    searched = setup["search"]["samples_per_schedule"]
    samples = searched if command == "search" else data.get("samples")
    counted = f"{samples} samples" if samples else "samples"
    return (
        f"The paper: {trained}, {counted} of {data['length']} tokens, T = {data['steps_T']}, "
        "judge GPT-2."
    )
