"""Reads results documents: each is checked against the types that are declared of it.

`stepimp.rows` declares the rows; here are the parameters, the provenance and the other parts. Only
what is read somewhere is required, so that documents of earlier versions stay readable.
"""

import logging
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from stepimp.checks import fault, not_a, parsed
from stepimp.columns import Column, columns
from stepimp.errors import StepimpError
from stepimp.rows import PARTS

SCHEMA = "stepimp/1"
log = logging.getLogger(__name__)

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
    """Of curves."""

    heavy: str
    lights: list[str]
    baseline: str | None
    family: str | None
    length: int
    seed: int
    inputs: str
    data: str | None
    split: NotRequired[str]
    sequences: NotRequired[int]
    until: NotRequired[float | None]


class RecommendParams(TypedDict):
    """Of a recommendation."""

    heavy: str
    lights: list[str]
    baseline: str | None
    family: str | None
    budget: float
    save_flops: bool
    by: Literal["kl", "loss", "nelbo"]
    segments: int
    steps: int
    seed: NotRequired[int]
    curves: NotRequired[str]


class ModelParams(TypedDict):
    """Of a plan or a schedule over masked positions."""

    heavy: str
    lights: list[str]
    family: str | None


class SampledParams(TypedDict):
    """Of documents whose numbers come from samples."""

    family: str | None
    heavy: str
    steps: int
    samples: int
    length: int


class CompareParams(SampledParams):
    """Of a comparison."""

    lights: list[str]
    prefix_length: int
    judge: str
    seed: NotRequired[int]


class SearchParams(SampledParams):
    """Of a search."""

    light: str
    segments: int
    light_segments: int
    judge: str
    seed: NotRequired[int]


class ProfileParams(SampledParams):
    """Of a profile."""

    light: str
    schedule: str | None
    repeats: int


class GenerateParams(TypedDict):
    """Of generated text."""

    schedule: str
    heavy: str | None
    light: str | None
    family: str | None
    prefix: NotRequired[str]


class Whole(TypedDict):
    """What every document has."""

    schema: str
    command: str
    params: dict[str, Any]
    provenance: Provenance
    rows: list[dict[str, Any]]
    blocks: NotRequired[dict[str, int]]


PARAMS: dict[str, Any] = {
    **dict.fromkeys(("curves", "loss", "kl", "cascade"), CurveParams),
    **dict.fromkeys(("recommend_masked", "plan"), ModelParams),
    "recommend": RecommendParams,
    "compare": CompareParams,
    "search": SearchParams,
    "profile": ProfileParams,
    "generate": GenerateParams,
}
# kind: {part beside the rows: (its type, whether it may be absent)}
OTHERS: dict[str, dict[str, Any]] = {
    "recommend": {"curve_params": CurveParams, "boundaries": dict[str, Any]},
    "compare": {"per_sample": Schedules},
    "search": {"log_ppl": dict[str, list[float]], "curves": str},
}


def document_fault(document) -> str:
    """What keeps a JSON value from being a results document, in words; empty where nothing does."""
    if text := fault(document, Whole):
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
    return blocks_fault(document)


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
    for column in declared:
        if column.name not in row and column.required:
            return f"{where} lacks {column.name!r}"
        kind = column.type | None if column.nullable or not column.required else column.type
        if text := fault(row.get(column.name), kind, f"{where}.{column.name}"):
            return text
    return ""


def blocks_fault(document: dict) -> str:
    """Whether the depth of every model is known, where a document has depths."""
    params, blocks = document["params"], document.get("blocks")
    if blocks is None:
        return ""
    if "lights" in params and not params["lights"]:
        return "params.lights is empty"
    lights = params.get("lights", [params.get("light")])
    for name in (params.get("heavy"), *lights):
        if name is not None and blocks.get(name, 0) < 1:
            return f"blocks lacks {name!r}"
    return ""


def read_document(path) -> dict:
    """A results document, with its path under "path".

    Raises StepimpError for a file that is missing, truncated, foreign, damaged or of another
    version.
    """
    path = Path(path)
    try:
        document = parsed(path.read_bytes(), names=True)
    except FileNotFoundError as error:
        raise StepimpError(f"No results file {path}.") from error
    except (ValueError, OSError) as error:
        raise StepimpError(
            f"{path} is truncated or not a results file: move it away and run the command again."
        ) from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise StepimpError(f"{path} is not a stepimp results file of this version ({SCHEMA}).")
    if wrong := document_fault(document):
        raise StepimpError(f"{path} is damaged: {wrong}. Move it away and run the command again.")
    return {**document, "path": str(path)}


def command_of(document: dict) -> list[str]:
    """The words of the command line that made a document; empty where it does not say."""
    try:
        return shlex.split(document["provenance"].get("command_line", ""))
    except ValueError:  # quotes that do not close
        return []


@cache
def skip(message: str):
    """Logs, once, which file is not read and why."""
    log.warning("Skipped: %s", message)


def documents_in(folder, kinds: tuple[str, ...]) -> Iterator[dict]:
    """The documents of these commands in a folder, the newest file first.

    A file that is not a results document is skipped with a warning.
    """
    files = {file for kind in kinds for file in Path(folder).expanduser().glob(f"{kind}-*.json")}
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            document = read_document(file)
        except StepimpError as error:
            skip(str(error))
            continue
        if document["command"] in kinds:
            yield document


def newest(
    out, kinds: str | tuple[str, ...], matches: Callable[[dict], bool] = lambda document: True
) -> dict | None:
    """The newest document in the results folder that matches, or None.

    kinds: its command, or several that may be. Files that are not results are skipped.
    """
    wanted = (kinds,) if isinstance(kinds, str) else kinds
    return next(filter(matches, documents_in(out, wanted)), None)
