"""What a results document holds besides its rows, and what keeps a JSON value from being one.

`stepimp.rows` declares the rows; here are the parameters, the provenance and the other parts. Only
what is read somewhere is required, so that documents of earlier versions stay readable.
"""

from typing import Any, NotRequired, TypedDict

from stepimp.checks import fault, not_a
from stepimp.columns import Column, columns
from stepimp.rows import PARTS, CurveRow, Objective

MOST_LOG_PPL = 700.0  # nats per token: the exponential of a larger one is infinite
Schedules = dict[str, dict[str, list[float]]]
"""Schedule -> statistic -> its value for each sample."""


class Fingerprints(TypedDict):
    """What a run was made of: 12 hex digits each."""

    models: NotRequired[dict[str, str]]
    judge: NotRequired[str]
    data: NotRequired[str | None]


class Provenance(TypedDict):
    """Where a document comes from."""

    version: str
    command_line: NotRequired[str]
    started: NotRequired[str]
    wall_seconds: NotRequired[float]
    fingerprints: Fingerprints


class CurveParams(TypedDict):
    """Parameters of curves."""

    heavy: str
    lights: list[str]
    baseline: str | None
    family: str | None
    length: int
    seed: int
    inputs: str
    data: str | None
    column: NotRequired[str]
    split: NotRequired[str]
    sequences: NotRequired[int]
    until: NotRequired[float | None]


class CascadeParams(CurveParams):
    """Parameters of a cascade."""

    budget: float
    steps: int | None


class RecommendParams(TypedDict):
    """Parameters of a recommendation."""

    heavy: str
    lights: list[str]
    baseline: str | None
    family: str | None
    budget: float
    save_flops: bool
    by: Objective
    segments: int
    steps: int
    seed: NotRequired[int]
    curves: NotRequired[str]


class ModelParams(TypedDict):
    """Parameters of a plan or a schedule over masked positions."""

    heavy: str
    lights: list[str]
    family: str | None


class SampledParams(TypedDict):
    """Parameters of documents whose numbers come from samples."""

    family: str | None
    heavy: str
    steps: int
    samples: int
    length: int


class CompareParams(SampledParams):
    """Parameters of a comparison."""

    lights: list[str]
    prefix_length: int
    judge: str
    seed: NotRequired[int]


class PolicyParams(SampledParams):
    """Parameters of a comparison of policies."""

    light: str
    judge: str
    sequences: int


class SearchParams(SampledParams):
    """Parameters of a search."""

    light: str
    segments: int
    light_segments: int
    judge: str
    seed: NotRequired[int]


class ProfileParams(SampledParams):
    """Parameters of a profile."""

    light: str
    schedule: str | None
    repeats: int


class GenerateParams(TypedDict):
    """Parameters of generated text."""

    schedule: str
    heavy: str | None
    light: str | None
    family: str | None
    prefix: NotRequired[str]


class Header(TypedDict):
    """The parts before the rows of every document."""

    schema: str
    command: str
    params: dict[str, Any]
    provenance: Provenance


class Document(Header):
    """What every document has."""

    rows: list[dict[str, Any]]
    blocks: NotRequired[dict[str, int]]


CURVES = ("curves", "loss", "kl")  # documents whose rows are curves
STATISTICS = {
    column.name.removesuffix("_low") for column in columns(CurveRow) if column.name.endswith("_low")
}
PARAMS: dict[str, Any] = {
    **dict.fromkeys(CURVES, CurveParams),
    "cascade": CascadeParams,
    **dict.fromkeys(("recommend_masked", "plan"), ModelParams),
    "recommend": RecommendParams,
    "compare": CompareParams,
    "policies": PolicyParams,
    "search": SearchParams,
    "profile": ProfileParams,
    "generate": GenerateParams,
}
# kind -> {part beside the rows, which may be absent: its type}
OTHERS: dict[str, dict[str, Any]] = {
    "recommend": {"curve_params": CurveParams, "boundaries": dict[str, Any]},
    "compare": {"per_sample": Schedules},
    "search": {"log_ppl": dict[str, list[float]], "curves": str},
}


def document_fault(document) -> str:
    """What keeps a JSON value from being a results document, in words; empty where nothing does."""
    if text := fault(document, Document):
        return text
    kind = document["command"]
    if kind not in PARTS:
        return ""
    if text := fault(document["params"], PARAMS.get(kind, dict[str, Any]), "params"):
        return text
    for name, type_of_part in OTHERS.get(kind, {}).items():
        if name in document and (text := fault(document[name], type_of_part, name)):
            return text
    if not document["rows"]:
        return "rows is empty"
    for part, row_types in PARTS[kind].items():
        if text := part_fault(document, part, row_types):
            return text
    checks = (blocks_fault, pairs_fault, search_fault, curves_fault, cascade_fault)
    return next(filter(None, (check(document) for check in checks)), "")


def pairs_fault(document: dict) -> str:
    """Whether the schedules' samples can be paired, where a document has values of each sample."""
    kept = document.get("per_sample", {}).values() if document["command"] == "compare" else ()
    counts = {len(values) for statistics in kept for values in statistics.values()}
    return "" if len(counts) < 2 else f"per_sample has {sorted(counts)} values"


def search_fault(document: dict) -> str:
    """What keeps the ranking of a search from being drawn: its coarse schedules are words of H and
    L, one letter for each segment, and every segment has an influence.
    """
    if document["command"] != "search":
        return ""
    segments = document["params"]["segments"]
    coarse = [(f"rows[{i}].segments", row["segments"]) for i, row in enumerate(document["rows"])]
    coarse += [("a key of log_ppl", key) for key in document.get("log_ppl", {})]
    for where, letters in coarse:
        if len(letters) != segments or set(letters) - set("HL"):
            return not_a(letters, f"{segments} letters H or L", where)
    for key, values in document.get("log_ppl", {}).items():
        if any(abs(value) > MOST_LOG_PPL for value in values):
            return f"log_ppl.{key} holds a value beyond {MOST_LOG_PPL:g} nats per token"
    return ""


def cascade_fault(document: dict) -> str:
    """Whether a cascade has its threshold: that of its first row is the one that is run."""
    if document["command"] == "cascade" and "threshold_nats" not in document["rows"][0]:
        return "rows[0] lacks 'threshold_nats'"
    return ""


def curves_fault(document: dict) -> str:
    """Whether every curve has a value somewhere: at t = 1 all positions are masked."""
    part = "curves" if "curves" in PARTS[document["command"]] else "rows"
    if document["command"] not in CURVES and part == "rows":
        return ""
    measured: dict[tuple[str, str], bool] = {}
    for row in document.get(part, []):
        for name in STATISTICS.intersection(row):
            curve = (row["model"], name)
            measured[curve] = measured.get(curve, False) or row[name] is not None
    empty = [
        f"{part} has no {name} of {model}"
        for (model, name), has_value in measured.items()
        if not has_value
    ]
    return min(empty, default="")


def part_fault(document: dict, part: str, row_types: tuple[type, ...]) -> str:
    """`document_fault` of one list of rows, which may be absent; a dot leads into an object."""
    rows: Any = document
    for key in part.split("."):
        if not isinstance(rows, dict):
            return not_a(rows, "an object", part)
        rows = rows.get(key, [] if part.endswith(key) else {})
    if not isinstance(rows, list):
        return not_a(rows, "a list", part)
    for number, row in enumerate(rows):
        where = f"{part}[{number}]"
        if not isinstance(row, dict):
            return not_a(row, "an object", where)
        faults = [row_fault(row, columns(row_type), where) for row_type in row_types]
        if all(faults):
            return min(faults, key=len)
    return ""


def row_fault(row: dict, declared: tuple[Column, ...], where: str) -> str:
    """What keeps a row from having the declared columns, in words; empty where nothing does."""
    for column in declared:
        if column.name not in row:
            if column.required:
                return f"{where} lacks {column.name!r}"
            continue
        kind = column.type | None if column.nullable else column.type
        if text := fault(row[column.name], kind, f"{where}.{column.name}"):
            return text
    return ""


def blocks_fault(document: dict) -> str:
    """Whether the depth of every model is known, where a document has depths."""
    params, blocks = document["params"], document.get("blocks")
    if blocks is None:
        return "it lacks 'blocks'" if document["command"] in ("curves", "recommend") else ""
    if "lights" in params and not params["lights"]:
        return "params.lights is empty"
    lights = params.get("lights", [params.get("light")])
    for name in (params.get("heavy"), *lights):
        if name is not None and blocks.get(name, 0) < 1:
            return f"blocks lacks {name!r}"
    return ""


def header_fault(header: dict) -> str:
    """`document_fault` of the parts before the rows."""
    if text := fault(header, Header):
        return text
    return fault(header["params"], PARAMS.get(header["command"], dict[str, Any]), "params")
