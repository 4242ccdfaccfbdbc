"""The paper's published numbers."""

import json
from functools import cache
from importlib.resources import files


@cache
def paper() -> dict:
    """The paper's published numbers."""
    return json.loads((files("stepimp.fixtures") / "paper.json").read_text("utf-8"))
