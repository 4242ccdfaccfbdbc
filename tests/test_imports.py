"""The architecture as rules on imports, those inside functions included."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"stepimp": "stepimp", "stepimp.commands": "commands", "stepimp.plots": "plots"}
SLOW = {"torch", "transformers", "datasets", "matplotlib", "seaborn", "scipy", "pandas", "numpy"}
# What a room may import of stepimp, beside the rooms of SMALL. Rooms stand in the order of the
# data.
SMALL = {"errors", "randomness", "noise", "intervals", "results", "processes", "text"}
SMALL |= {"rows", "columns"}  # what a results document holds
ROOMS = {
    "kernels": set(),
    "models": {"kernels"},
    "curves": {"kernels", "models"},
    "schedules": {"curves"},
    "sampling": {"kernels", "models", "curves", "schedules"},
    "quality": {"kernels", "models", "curves", "schedules", "sampling"},
    "search": {"models", "curves", "schedules", "sampling", "quality"},
    "training": {"kernels", "models", "quality"},
    "paper": {"models", "schedules"},
    "plots": {"paper", "schedules"},
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


def imported(path: Path, package: str = "", toplevel_only=False) -> set[str]:
    """Absolute names of the modules and symbols a file imports; package: what its dots mean."""
    tree = ast.parse(path.read_text("utf-8"))
    names = set()
    for node in tree.body if toplevel_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = ".".join(filter(None, [package if node.level else "", node.module]))
            names |= {source} | {f"{source}.{alias.name}" for alias in node.names}
    return names


def own_imports(name: str) -> set[str]:
    """The modules of stepimp that a module imports."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    found = imported(MODULES[name], package) & MODULES.keys() - {name}
    # `from a.b import c` names the package a.b on the way to the module a.b.c.
    return {one for one in found if not any(other.startswith(f"{one}.") for other in found)}


def room(name: str) -> str:
    """stepimp.models.family -> models, stepimp.noise -> noise."""
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) in ROOMS])
def test_a_room_imports_only_those_before_it(name):
    own = room(name)
    assert {room(one) for one in own_imports(name)} - {"", own} <= ROOMS[own] | SMALL


@pytest.mark.parametrize("name", ["noise", "randomness", "results", "intervals", "errors"])
def test_the_small_rooms_need_no_torch_and_little_of_each_other(name):
    own = f"stepimp.{name}"
    assert {room(one) for one in own_imports(own)} <= {"errors", "randomness", ""}
    assert "torch" not in imported(MODULES[own], toplevel_only=True)


def test_imports_form_no_circle():
    graph = {name: own_imports(name) for name in MODULES}
    # The command line names its commands in a list; each of them is free to know its group.
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) not in ("commands",)])
def test_the_library_knows_no_command_line_and_draws_only_in_plots(name):
    if name == "stepimp.__main__":
        return
    packages = {one.split(".")[0] for one in imported(MODULES[name])}
    drawing = set() if room(name) == "plots" else {"matplotlib", "seaborn"}
    assert packages.isdisjoint({"click", "rich", "commands", "plots"} | drawing)
    assert "commands" not in {room(one) for one in own_imports(name)}


def test_packages_hold_a_docstring_only():
    for name, path in MODULES.items():
        if path.name == "__init__.py" and name not in (
            "stepimp",
            "stepimp.commands",
            "stepimp.kernels",
        ):
            tree = ast.parse(path.read_text("utf-8")).body
            assert len(tree) <= 1 and all(isinstance(node, ast.Expr) for node in tree), name


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) == "plots"])
def test_figures_load_no_model(name):
    assert {one.split(".")[0] for one in imported(MODULES[name])}.isdisjoint(
        {"torch", "transformers"}
    )


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) == "commands"])
def test_commands_import_nothing_slow_at_their_top(name):
    if name.endswith("_training_progress"):  # imported where a training begins
        return
    top = imported(MODULES[name], toplevel_only=True)
    assert {one.split(".")[0] for one in top}.isdisjoint(SLOW)


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
    """Arguments that `stepimp.paper.needs` puts together for commands are whole strings."""
    option = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
    for name, path in MODULES.items():
        if room(name) in ("commands", "plots"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
                assert option.fullmatch(text) or not option.search(text), (name, text)


def test_the_readmes_example_imports_what_there_is():
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    imports = [node for node in ast.parse(example).body if isinstance(node, ast.ImportFrom)]
    wanted = {f"{node.module}.{alias.name}" for node in imports for alias in node.names}
    assert wanted
    for name in wanted - MODULES.keys():
        module, _, symbol = name.rpartition(".")
        defined = ast.parse(MODULES[module].read_text("utf-8")).body
        assert symbol in {getattr(node, "name", None) for node in defined}, name
