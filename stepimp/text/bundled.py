"""Corpora that come with Python and with what stepimp needs: `docs` and `code`.

Texts differ between versions of Python and of the libraries; results carry a fingerprint of them.
"""

import ast
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from stepimp.text.cache import digest
from stepimp.text.splits import split_of
from stepimp.text.tables import cached

# Folders of the standard library that some installations of Python leave out, third-party packages
# and tests.
SKIPPED = {
    "site-packages",
    "test",
    "tests",
    "testing",
    "idle_test",
    "__pycache__",
    "idlelib",
    "lib2to3",
    "distutils",
    "pydoc_data",
}
# Requirements of stepimp whose docstrings hold the most prose.
DOCUMENTED = ("matplotlib", "networkx", "numpy", "pandas", "scipy", "sympy", "torch")

NamedText = tuple[str, Callable[[], str]]  # a document's name, and a function that reads its text


def sources(root: Path, within: Path) -> Iterator[tuple[str, Path]]:
    """(name, path) of every module in a folder, sorted by name; names are relative to `within`."""
    for path in sorted(root.rglob("*.py")):
        if SKIPPED.isdisjoint(path.relative_to(root).parts):
            yield path.relative_to(within).as_posix(), path


def stdlib_sources() -> Iterator[tuple[str, Path]]:
    """`sources` of this Python's standard library."""
    root = Path(sysconfig.get_paths()["stdlib"])
    return sources(root, root)


def read_source(path: Path) -> str:
    """A module's text, empty if it is not UTF-8 or cannot be read."""
    try:
        return path.read_text("utf-8")
    except (UnicodeDecodeError, OSError):
        return ""


def docstrings(source: str) -> str:
    """All docstrings of a module in the order of the source, separated by blank lines.

    Empty for a source that does not parse.
    """
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in other people's strings
            nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    except SyntaxError:
        return ""
    nodes.sort(key=lambda node: getattr(node, "lineno", 0))
    return "\n\n".join(filter(None, map(ast.get_docstring, nodes)))


def read_docstrings(path: Path) -> str:
    """`docstrings` of a file."""
    return docstrings(read_source(path))


def documented() -> dict[str, Path]:
    """Folders of the installed packages of DOCUMENTED, by package."""
    specs = {package: find_spec(package) for package in DOCUMENTED}
    return {
        package: Path(spec.submodule_search_locations[0])
        for package, spec in specs.items()
        if spec and spec.submodule_search_locations
    }


def bundled_code() -> Iterator[NamedText]:
    """(name, reader) for each document of the corpus `code`: the standard library's source."""
    for name, path in stdlib_sources():
        yield name, partial(read_source, path)


def bundled_docs() -> Iterator[NamedText]:
    """(name, reader) for each document of the corpus `docs`: the language reference, docstrings."""
    from pydoc_data.topics import topics

    for name, text in sorted(topics.items()):
        yield name, partial(str, text)
    folders = documented().values()
    modules = chain(stdlib_sources(), *(sources(folder, folder.parent) for folder in folders))
    for name, path in modules:
        yield name, partial(read_docstrings, path)


class Corpus(NamedTuple):
    """A bundled corpus."""

    documents: Callable[[], Iterator[NamedText]]
    packages: Callable[[], Iterable[str]] = tuple
    """Installed packages that it is read from besides the standard library: after an update of one
    of them it is read again.
    """


BUNDLED = {"docs": Corpus(bundled_docs, documented), "code": Corpus(bundled_code)}


def load_bundled(name: str, split: str):
    """A split of a bundled corpus as a datasets.Dataset of (name, text).

    Read from this Python's installation the first time, then from the cache.
    """
    from importlib.metadata import version  # slow, and commands read BUNDLED for their help

    corpus = BUNDLED[name]

    def texts():
        for title, read in corpus.documents():
            if split in ("all", split_of(title)) and (text := read()):
                yield title, text

    versions = [f"{package} {version(package)}" for package in corpus.packages()]
    key = digest(name, split, sys.version, sysconfig.get_paths()["stdlib"], *versions)
    return cached(key, texts())
