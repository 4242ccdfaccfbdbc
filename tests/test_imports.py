"""The architecture as rules on imports, those inside functions included."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from stepimp.commands import COMMANDS

ROOT = Path(__file__).parents[1]
FOLDERS = {"stepimp": "stepimp", "stepimp.commands": "commands", "stepimp.plots": "plots"}
SLOW = {"torch", "transformers", "datasets", "matplotlib", "seaborn", "scipy", "pandas", "numpy"}
SLOW |= {"rich"}
# modules of commands that are imported where their work begins, with what is slow at their top
LOADED_LATE = {"stepimp.commands._training_progress", "stepimp.commands._overall"}
# All that a room may import of stepimp. Rooms stand in the order of the data.
SMALL = {"errors", "randomness", "noise", "intervals", "scratch", "results", "text", "processes"}
SMALL |= {"progress", "wording"}
SMALL |= {"rows", "columns", "documents", "journals", "checks"}  # what files hold
ROOMS = {
    "errors": set(),
    "randomness": set(),
    "progress": {"errors", "launcher"},
    "wording": set(),
    "launcher": {"errors"},
    "processes": {"errors", "launcher", "progress"},
    "agreement": {"errors", "processes"},
    "predicted_rows": set(),
    "search_rows": {"predicted_rows"},
    "rows": {"predicted_rows", "search_rows"},
    "checks": set(),
    "journals": {"errors", "checks"},
    "document_types": {"checks", "rows", "columns"},
    "documents": {"errors", "checks", "headers", "document_types"},
    "columns": {"rows"},
    "pictures": set(),
    "noise": {"errors"},
    "intervals": {"randomness"},
    "headers": set(),
    "memory": set(),
    "scratch": {"errors"},
    "results": {"errors", "scratch", "documents", "journals", "processes"} | {"agreement"},
    "text": {"errors", "scratch", "wording"},
    "kernels": {"errors", "randomness"},
    "models": {"errors", "checks", "wording", "noise", "memory", "results", "text", "kernels"},
    "curves": {"kernels", "models"} | SMALL,
    "schedules": {"errors", "progress", "wording", "intervals", "rows", "columns", "checks"}
    | {"curves", "pictures"},
    "sampling": {"kernels", "models", "curves", "schedules"} | SMALL,
    "quality": {"kernels", "models", "curves", "schedules", "sampling"} | SMALL,
    "search": {"models", "curves", "schedules", "sampling", "quality", "search_rows"} | SMALL,
    "estimates": {"models", "curves", "schedules", "sampling", "quality", "search"}
    | {"training"}
    | SMALL,
    "training": {"errors", "checks", "noise", "processes", "agreement", "scratch", "results"}
    | {"text", "progress", "wording"}
    | {"kernels", "models", "quality"},
    "paper": {
        "errors",
        "intervals",
        "results",
        "columns",
        "documents",
        "checks",
        "models",
        "schedules",
        "wording",
    },
    "doctor": {"errors", "kernels", "models", "results", "text"},
    "api_results": {"pictures", "curves", "schedules", "quality"} | SMALL,
    "api": {"api_results", "models", "curves", "schedules", "sampling", "quality"} | SMALL,
    "plots": {"errors", "intervals", "scratch", "paper", "schedules", "wording"},
}


def modules() -> dict[str, Path]:
    """{dotted name: file} of all that is installed."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def source_of(node: ast.ImportFrom, package: str) -> str:
    """Absolute name of what a `from` names in a module of this package: a dot is the package, each
    further one its parent.
    """
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    return ".".join([*parents[: len(parents) + 1 - node.level], *filter(None, [node.module])])


def imported(path: Path, package: str = "", toplevel_only=False) -> set[str]:
    """Absolute names of what a file imports; `from a import b` is a.b, a module or a symbol of a.

    package: the one the file is in.
    """
    tree = ast.parse(path.read_text("utf-8"))
    names = set()
    for node in tree.body if toplevel_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{source_of(node, package)}.{alias.name}" for alias in node.names}
    return names


def package_of(name: str) -> str:
    """The package that a dot in a module means."""
    return name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]


def own_imports(name: str) -> set[str]:
    """The modules of stepimp that a module imports; of the command line, also the commands that it
    imports by their names.
    """
    names = imported(MODULES[name], package_of(name))
    if name == "stepimp.commands":
        names |= {f"{name}.{command}" for command in COMMANDS}
    # What is not a module is a symbol of one.
    modules = {each if each in MODULES else each.rpartition(".")[0] for each in names}
    return modules & MODULES.keys() - {name}


def room(name: str) -> str:
    """stepimp.models.family -> models, stepimp.noise -> noise."""
    return name.split(".")[1] if "." in name else ""


def packages(name: str, toplevel_only=False) -> set[str]:
    """The top-level packages that a module imports."""
    names = imported(MODULES[name], package_of(name), toplevel_only)
    return {each.split(".")[0] for each in names}


def test_each_room_has_a_rule():
    assert {room(name) for name in MODULES} == ROOMS.keys() | {"", "__main__", "commands"}


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) in ROOMS])
def test_a_room_imports_only_what_its_rule_names(name):
    own = room(name)
    version = ""  # of `from stepimp import __version__`
    assert {room(module) for module in own_imports(name)} - {own, version} <= ROOMS[own]


@pytest.mark.parametrize(
    "name",
    ["errors", "randomness", "processes", "rows", "columns", "pictures", "noise", "intervals"]
    + ["memory", "headers", "scratch", "results", "checks", "journals", "documents"],
)
def test_the_small_rooms_need_no_torch(name):
    assert "torch" not in packages(f"stepimp.{name}", toplevel_only=True)


def test_dots_of_a_relative_import_are_resolved():
    lines = {
        "from . import b": "stepimp.models.layouts",
        "from .b import c": "stepimp.models.layouts.b",
        "from .. import b": "stepimp.models",
        "from ...kernels import draw": "stepimp.kernels",
        "from stepimp import noise": "stepimp",
    }
    for line, source in lines.items():
        (node,) = ast.parse(line).body
        assert source_of(node, "stepimp.models.layouts") == source


@pytest.mark.parametrize("name", [name for name in MODULES if name != "stepimp.commands"])
def test_modules_are_imported_by_statements_that_these_rules_can_read(name):
    for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        words = {getattr(node, "id", None), getattr(node, "attr", None)}
        if isinstance(node, ast.ImportFrom):
            words |= {alias.name for alias in node.names}
        assert words.isdisjoint({"import_module", "__import__"})


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) == "commands"])
def test_no_command_imports_the_command_line(name):
    assert "stepimp.commands" not in own_imports(name)


def test_imports_form_no_circle():
    graph = {name: own_imports(name) for name in MODULES}
    # The root imports the front door, which is on top of all rooms, only when it is first used; the
    # rooms import the root for its version.
    assert graph["stepimp"] == {"stepimp.api", "stepimp.curves", "stepimp.errors"}
    graph["stepimp"].remove("stepimp.api")
    assert list(TopologicalSorter(graph).static_order())


def test_the_root_imports_only_a_package_without_imports():
    top = imported(MODULES["stepimp"], "stepimp", toplevel_only=True)
    # What else it imports is `stepimp.curves`, beside an import for type checkers.
    assert {name for name in top if name.startswith("stepimp")} == {"stepimp.errors.StepimpError"}
    assert not own_imports("stepimp.curves") and not own_imports("stepimp.errors")


def test_the_front_door_is_loaded_when_it_is_first_used(python):
    code = f"""
import sys
import stepimp
assert not {SLOW!r} & sys.modules.keys() and "stepimp.api" not in sys.modules
import stepimp.curves.options
assert stepimp.curves.options.CurveOptions
try:
    stepimp.curves(nothing=1)  # the package, called
except TypeError as error:
    assert "nothing" in str(error), error
from stepimp import load, recommend, sample
assert stepimp.load is load is sys.modules["stepimp.api"].load
"""
    python(code)


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) not in ("commands",)])
def test_the_library_knows_no_command_line_and_draws_only_in_plots(name):
    if name == "stepimp.__main__":
        return
    drawing = set() if room(name) == "plots" else {"matplotlib", "seaborn"}
    assert packages(name).isdisjoint({"click", "rich", "commands", "plots"} | drawing)
    assert "commands" not in {room(module) for module in own_imports(name)}


def test_packages_hold_a_docstring_only():
    for name, path in MODULES.items():
        if path.name == "__init__.py" and name not in ("stepimp", "stepimp.commands"):
            tree = ast.parse(path.read_text("utf-8")).body
            assert len(tree) <= 1 and all(isinstance(node, ast.Expr) for node in tree), name


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) == "plots"])
def test_figures_load_no_model(name):
    assert packages(name).isdisjoint({"torch", "transformers"})


@pytest.mark.parametrize(
    "name", [name for name in MODULES if room(name) == "commands" and name not in LOADED_LATE]
)
def test_commands_import_nothing_slow_at_their_top(name):
    assert packages(name, toplevel_only=True).isdisjoint(SLOW)
    top = imported(MODULES[name], package_of(name), toplevel_only=True)
    assert {each.rpartition(".")[0] for each in top}.isdisjoint(LOADED_LATE)


def test_figures_and_tables_load_no_model_and_no_command_line(python):
    code = """
import sys
from stepimp.paper import claims, tables
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


def test_the_library_names_no_option_of_a_command():
    option = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
    for name, path in MODULES.items():
        if room(name) in ("commands", "plots"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
                # Its recipes are command lines: the arguments of the command that fills a need.
                argument = name == "stepimp.paper.recipes" and option.fullmatch(text)
                assert argument or not option.search(text), (name, text)
