"""The wheel works where there is no checkout: it is built, installed into an empty environment, and
its commands run from another folder.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("stepimp", "commands", "plots", "fixtures", "setup.py", "pyproject.toml", "LICENSE")
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
# one process, because each takes seconds to import torch
RUN = """
import sys
from pathlib import Path
import stepimp
from stepimp.commands import main
assert Path(stepimp.__file__).is_relative_to(sys.prefix), stepimp.__file__
text = "\\n".join(f"line {i} of a text that is long enough to be masked" for i in range(900))
Path("text.txt").write_text(text)
models = ["--heavy", "12b", "--light", "4b"]
small = ["--data", "text.txt", "--sequences", "2", "--points", "2", "--length", "16"]
for line in (["kl", *models, *small], ["recommend"], ["generate", "--samples", "2"], ["evaluate"]):
    main(line, standalone_mode=False)
from stepimp.paper.describe import reference_folder
from stepimp.plots import report  # its page is package data
assert list(reference_folder().glob("*.json"))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of an environment with the wheel and, from here, what the wheel needs."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    sources.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, sources / name)
    environment = folder / "environment"
    venv.create(environment, with_pip=False)
    (packages,) = environment.glob("lib/python*/site-packages")
    others = {
        sysconfig.get_path("purelib"),
        *filter(lambda path: "site-packages" in path, sys.path),
    }
    (packages / "others.pth").write_text("\n".join(sorted(others)) + "\n")
    interpreter = environment / "bin" / "python"
    # without its own stepimp, this environment gives the wheel what it needs and nothing else
    run([sys.executable, "-c", BUILD, str(folder)], sources)
    (wheel,) = folder.glob("stepimp-*.whl")
    install = [
        "pip",
        "--python",
        str(interpreter),
        "install",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    run([sys.executable, "-m", *install], folder)
    return interpreter


def run(command: list[str], folder: Path, **environment: str) -> str:
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith("STEPIMP")
    }
    result = subprocess.run(
        command, cwd=folder, env=variables | environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_four_commands_run_from_another_folder(python, tmp_path):
    pytest.importorskip("datasets", reason="datasets, which reads text, is not installed")
    said = run([str(python), "-c", RUN], tmp_path, STEPIMP_CACHE=str(tmp_path / "cache"))
    assert "KL(heavy || light)" in said and "Recommended:" in said and "gen-PPL" in said
    kinds = {file.name.split("-")[0] for file in (tmp_path / "results").glob("*.json")}
    assert kinds == {"curves", "recommend", "generate", "evaluate"}


def test_the_console_script_is_installed(python, tmp_path):
    from stepimp import __version__

    said = run([str(python.parent / "stepimp"), "--version"], tmp_path)
    assert said == f"stepimp, version {__version__}\n"
