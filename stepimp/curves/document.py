"""Curves in the results folder: read, found again, and checked against the models that run."""

from collections.abc import Iterable

from stepimp.curves.measurements import Measurements
from stepimp.curves.tables import widest_band
from stepimp.documents import newest, read_document, skip
from stepimp.errors import StepimpError
from stepimp.models.family import family_folder, recorded, replaced
from stepimp.wording import counted

KINDS = ("curves", "kl", "loss")  # loss and kl had a document each before they shared one


def read_curves(path, by_masked: bool = False) -> dict:
    """A document with measured curves, over t or by_masked over n. Raises StepimpError for any
    other file.
    """
    document = read_document(path)
    if document["command"] not in KINDS:
        raise StepimpError(
            f"{document['path']} holds no curves: give a results file of stepimp kl or loss."
        )
    if is_by_masked(document) != by_masked:
        kinds = "over t", "over the number of masked positions"
        raise StepimpError(
            f"{document['path']} has curves {kinds[not by_masked]}, where those {kinds[by_masked]} "
            "are needed: measure them, or give none to have them found."
        )
    return document


def read_curves_of(path, heavy: str, lights: Iterable[str]) -> dict:
    """A document with curves of these models. Raises StepimpError for any other file."""
    document = read_curves(path)
    params = document["params"]
    if params["heavy"] != heavy or not set(lights) <= set(params["lights"]):
        raise StepimpError(
            f"{path} has curves of {params['heavy']} and {', '.join(params['lights'])}, not of "
            f"{heavy} and {', '.join(lights)}: give others, or none to have them found."
        )
    return document


def weights_of(document: dict) -> dict[str, str]:
    """{model: fingerprint of its weights} that a document was measured with."""
    return document["provenance"]["fingerprints"].get("models", {})


def check_current(document: dict) -> None:
    """Raises StepimpError for curves of a family whose manifest has other weights now."""
    if changed := replaced(weights_of(document), family_folder(document["params"]["family"])):
        raise StepimpError(stale(document, changed))


def stale(document: dict, changed: Iterable[str]) -> str:
    """What to say of curves that were measured with other weights of these models."""
    line = document["provenance"].get("command_line", "stepimp kl")
    return (
        f"{document['path']} was measured with other weights of {', '.join(changed)} than there "
        f"are now. Measure the curves again: {line}"
    )


def is_by_masked(document: dict) -> bool:
    """Whether a curves document is over n, the number of masked positions, instead of over t."""
    return document["params"].get("by_masked", False)


def newest_curves(
    out,
    by: str,
    heavy: str | None,
    lights,
    family: str | None,
    by_masked: bool = False,
    weights: dict[str, str] | None = None,
) -> dict | None:
    """The newest curves of these models and this family in a results folder, or None.

    by: what they are for, an objective of `schedules.costs.cost_curves`. For "kl" curves with a
    baseline come before all without. heavy: None for any. by_masked: over n instead of over t.
    weights: model -> fingerprint of the weights that run, where they are loaded. Curves of other
    weights than these, or than the family's manifest has, are skipped with a warning.
    """

    def current(document: dict) -> bool:
        measured = weights_of(document)
        changed = replaced(measured, family_folder(family))
        changed += [name for name in weights or {} if measured.get(name) != (weights or {})[name]]
        if changed:
            names = ", ".join(dict.fromkeys(changed))
            skip(f"{document['path']} was measured with other weights of {names}.")
        return not changed

    def fits(document: dict) -> bool:
        params = document["params"]
        return (
            is_by_masked(document) == by_masked
            and params["family"] == recorded(family)
            and heavy in (None, params["heavy"])
            and set(lights) <= set(params["lights"])
            and current(document)
        )

    def with_baseline(document: dict) -> bool:
        return bool(document["params"]["baseline"]) and fits(document)

    kinds = KINDS if by == "loss" else ("curves", "kl")
    relative = newest(out, kinds, with_baseline) if by == "kl" else None
    return relative or newest(out, kinds, fits)


def check_weights(curves: dict, fingerprints: dict[str, str]) -> None:
    """Raises StepimpError unless the curves were measured with these weights.

    fingerprints: model -> fingerprint of its weights.
    """
    measured = weights_of(curves)
    changed = [name for name, weights in fingerprints.items() if weights != measured.get(name)]
    if changed:
        raise StepimpError(stale(curves, changed))


def remarks(document: dict) -> list[str]:
    """What is unusual about a measurement."""
    params, blocks = document["params"], document["blocks"]
    measurements = Measurements.unpack(document)
    unusual = []
    heavy, count, until = params["heavy"], measurements.sequences, params["until"]
    for light in params["lights"]:
        if blocks[light] > blocks[heavy]:
            unusual.append(f"Warning: {light} is deeper than the heavy model {heavy}.")
    if until is None and count < params["sequences"]:
        text = f"{params['data']} ({params['split']})"
        unusual.append(f"Only {counted(count, 'sequence')} of {params['length']} tokens in {text}.")
    if until and (width := widest_band(measurements, params["seed"])) > until:
        unusual.append(
            f"All {count} sequences were used, and the band is still plus or minus {width:.2g} "
            "nats."
        )
    return unusual
