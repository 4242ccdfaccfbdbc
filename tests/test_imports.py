import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = {path.stem: path for path in (ROOT / "stepimp").glob("*.py") if path.stem != "__main__"}
READ = {"results", "schedule", "errors", "bootstrap", "documents", "peak", "tables", "claims"}  # no model in them
SLOW = {"torch", "transformers", "datasets", "matplotlib", "seaborn", "scipy", "pandas", "numpy"}


def imported(path: Path, toplevel_only=False) -> set[str]:
    """Absolute names of the modules a file imports."""
    tree = ast.parse(path.read_text("utf-8"))
    names = set()
    for node in tree.body if toplevel_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def siblings(name: str, **options) -> set[str]:
    found = {module.split(".")[1] for module in imported(LIBRARY[name], **options) if module.startswith("stepimp.")}
    return found & LIBRARY.keys() - {name}


@pytest.mark.parametrize("path", sorted((ROOT / "stepimp").rglob("*.py")), ids=lambda path: path.stem)
def test_the_library_knows_no_command_line_and_no_figures(path):
    if path.name == "__main__.py":
        return
    packages = {name.split(".")[0] for name in imported(path)}
    assert packages.isdisjoint({"click", "rich", "matplotlib", "seaborn", "commands", "plots"})
    assert not any(name.startswith(("stepimp.commands", "stepimp.plots")) for name in imported(path))


def test_imports_of_the_library_form_no_circle():
    assert list(TopologicalSorter({name: siblings(name) for name in LIBRARY}).static_order())


@pytest.mark.parametrize("name", ["noise", "schedule", "results", "randomness"])
def test_the_lowest_modules_import_no_sibling_and_no_torch(name):
    assert siblings(name) <= {"errors", "__init__"}
    assert "torch" not in imported(LIBRARY[name], toplevel_only=True)


@pytest.mark.parametrize("path", sorted((ROOT / "plots").glob("*.py")), ids=lambda path: path.stem)
def test_figures_know_what_is_read_from_results_alone(path):
    ours = {name for name in imported(path) if name.startswith("stepimp.")}
    assert {name.split(".")[1] for name in ours} <= READ | {"plots"}
    assert {name.split(".")[0] for name in imported(path)}.isdisjoint({"torch", "click", "rich"})


@pytest.mark.parametrize("path", sorted((ROOT / "commands").glob("*.py")), ids=lambda path: path.stem)
def test_commands_import_nothing_slow_at_their_top(path):
    if path.stem == "_training_progress":  # imported where a training begins
        return
    assert {name.split(".")[0] for name in imported(path, toplevel_only=True)}.isdisjoint(SLOW)


def test_figures_and_tables_load_no_model_and_no_command_line(python):
    code = """
import sys
from stepimp import claims, tables
assert "matplotlib" not in sys.modules
from stepimp.plots import figures
assert not {"torch", "transformers", "click", "rich"} & sys.modules.keys()
"""
    python(code)


HELP = """
import sys
from click.testing import CliRunner
from stepimp.commands import main
asked = [[name, option] for name in main.commands for option in ("--help", "--wrong")]
for arguments in [["--help"], ["--version"], ["nothing"], *asked]:
    CliRunner().invoke(main, arguments)
    for package in {slow!r} & sys.modules.keys():
        sys.exit(f"{{arguments}} imports {{package}}")
"""


def test_help_and_usage_errors_import_nothing_slow(python):
    python(HELP.format(slow=SLOW))
