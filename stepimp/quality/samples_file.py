"""Generated text in files: one JSON object a line, {"text", "tokens", "prefix"}, of which only the
text is needed.
"""

import json
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path

from stepimp.errors import StepimpError
from stepimp.results import read_document


@dataclass(frozen=True)
class Samples:
    """prefixes, texts: [N], what was given and what follows it; tokens: of the whole samples, None
    where unknown.

    path: the file; document: the results document of `stepimp generate` that goes with it, if there
    is one."""

    prefixes: list[str]
    texts: list[str]
    tokens: list[list[int]] | None
    path: Path
    document: dict | None


def split_prefix(whole: str, prefix: str) -> tuple[str, str]:
    """Prefix and rest. A character that the two share, bytes of it on either side, belongs to the
    rest.
    """
    prefix = commonprefix([whole, prefix])
    return prefix, whole[len(prefix) :]


def read_samples(path) -> Samples:
    """The samples of a JSON Lines file, or those a results document of `stepimp generate` names.

    Raises StepimpError for a file that is missing, empty or no samples.
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
                f"{path} names no samples: give results of stepimp generate, or a JSON Lines file."
            )
        path = path.with_name(document["rows"][0]["samples_file"])
    elif path.with_suffix(".json").exists():
        document = read_document(path.with_suffix(".json"))
    lines = read_lines(path)
    given = document["params"].get("prefix", "") if document else ""
    pairs = [split_prefix(line["text"], line.get("prefix", given)) for line in lines]
    tokens = [line.get("tokens") for line in lines]
    prefixes, texts = map(list, zip(*pairs))
    return Samples(prefixes, texts, None if None in tokens else tokens, path, document)


def read_lines(path: Path) -> list[dict]:
    """The objects of a samples file, checked."""
    try:
        found = [
            (n, line)
            for n, line in enumerate(path.read_text("utf-8").split("\n"), 1)
            if line.strip()
        ]
    except FileNotFoundError:
        raise StepimpError(f"No samples file {path}: make one with stepimp generate.") from None
    except (UnicodeDecodeError, OSError) as error:
        raise StepimpError(f"Cannot read {path} as UTF-8 text: {error}") from None
    if not found:
        raise StepimpError(f"{path} holds no samples: make some with stepimp generate.")
    lines = []
    for n, line in found:
        try:
            lines.append(json.loads(line))
        except ValueError:
            raise StepimpError(
                f"{path}, line {n}, is no JSON: a samples file has one object a line."
            ) from None
        if not sample_like(lines[-1]):
            raise StepimpError(
                f'{path}, line {n}, is no sample: it must be like {{"text": "...", "tokens": [1, 2]}}.'
            )
    return lines


def sample_like(line) -> bool:
    """Whether a line has the fields of a sample, as far as it has them."""
    if not isinstance(line, dict) or not all(
        isinstance(one, str) for one in (line.get("text"), line.get("prefix", ""))
    ):
        return False
    tokens = line.get("tokens", [])
    return isinstance(tokens, list) and all(type(token) is int for token in tokens)
