"""Files of generated text: JSON Lines of {"text", "tokens", "prefix"}, of which only the text is
required.
"""

from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path
from typing import NotRequired, TypedDict

from stepimp.checks import fault, parsed
from stepimp.documents import read_document
from stepimp.errors import StepimpError, advice
from stepimp.text.files import cell


class Sample(TypedDict):
    """A line of the file."""

    text: str
    tokens: NotRequired[list[int]]
    prefix: NotRequired[str]


@dataclass(frozen=True)
class Samples:
    """N samples of generated text."""

    prefixes: list[str]
    """[N] the text that each sample was started with."""
    texts: list[str]
    """[N] what follows the prefix."""
    tokens: list[list[int]] | None
    """[N] tokens of prefix and text, None if the file does not have them for every sample."""
    path: Path
    """The file."""
    document: dict | None
    """The results document of `stepimp generate` beside the file, if there is one."""


def split_prefix(whole: str, prefix: str) -> tuple[str, str]:
    """The prefix and what follows it. A character with bytes in both belongs to what follows."""
    prefix = commonprefix([whole, prefix])
    return prefix, whole[len(prefix) :]


def read_samples(path, column: str = "text") -> Samples:
    """The samples of a JSON Lines file, or of the file that a results document of `stepimp
    generate` names.

    column: where the text is in each object, as for `text.files.cell`. Raises StepimpError for a
    file that is missing, empty or does not hold samples.
    """
    path, document = Path(path).expanduser(), None
    if path.suffix == ".json":
        document = read_document(path)
        if (
            not document["rows"]
            or "samples_file" not in document["rows"][0]
            or document["command"] != "generate"
        ):
            raise StepimpError(
                f"{path} names no samples: give results of stepimp generate or a JSON Lines file."
            )
        name = document["rows"][0]["samples_file"]
        if name != Path(name).name:
            raise StepimpError(f"{path} is damaged: {name!r} is not a file beside it.")
        path = path.with_name(name)
    elif path.with_suffix(".json").exists():
        document = read_document(path.with_suffix(".json"))
    lines = read_lines(path, column)
    prefix = document["params"].get("prefix", "") if document else ""
    pairs = [split_prefix(line["text"], line.get("prefix", prefix)) for line in lines]
    tokens = [line["tokens"] for line in lines if "tokens" in line]
    prefixes, texts = map(list, zip(*pairs))
    return Samples(prefixes, texts, tokens if len(tokens) == len(lines) else None, path, document)


def read_lines(path: Path, column: str) -> list[dict]:
    """The objects of a samples file. Raises StepimpError for the first one that is not a sample."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise StepimpError(f"No samples file {path}: make one with stepimp generate.") from error
    except OSError as error:
        raise StepimpError(f"Cannot read {path} ({error.strerror}). {advice(error)}") from error
    except UnicodeDecodeError as error:
        raise StepimpError(f"Cannot read {path} as UTF-8 text: {error}") from error
    samples = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            sample = parsed(line.encode())
        except ValueError as error:
            raise StepimpError(
                f"{path}, line {number}, is not valid JSON: a samples file has one object per line."
            ) from error
        if column != "text":
            sample = {"text": cell(sample, column, f"{path}, line {number},")}
        if wrong := fault(sample, Sample):
            raise StepimpError(
                f"{path}, line {number}, is not a sample such as "
                f'{{"text": "...", "tokens": [1, 2]}}: {wrong}.'
            )
        samples.append(sample)
    if not samples:
        raise StepimpError(f"{path} holds no samples: make some with stepimp generate.")
    return samples
