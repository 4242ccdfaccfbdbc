"""The scripts of docs/ that write its pages."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def page_maker(name: str):
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
