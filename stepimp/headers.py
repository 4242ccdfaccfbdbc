"""The first lines of a results document: all of it but the rows, which are most of its bytes."""

import json
from pathlib import Path
from typing import Any

HEADER = ("schema", "command", "params", "provenance")


def read_header(path) -> dict[str, Any] | None:
    """The parts before the rows of a results document, with its path under "path".

    None for a file that is not laid out as `results.in_lines` does, a part to a line: only reading
    all of it says what it is.
    """
    header: dict[str, Any] = {}
    try:
        with open(path, encoding="utf-8") as file:
            if file.readline() != "{\n":
                return None
            for name in HEADER:
                header |= json.loads("{" + file.readline().rstrip(",\n") + "}")
                if [*header][-1] != name:
                    return None
    except (OSError, ValueError, IndexError, RecursionError):
        return None
    if not all(isinstance(header[name], dict) for name in ("params", "provenance")):
        return None
    return {**header, "path": str(Path(path))}
