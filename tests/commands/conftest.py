"""Every document that a command writes here has the columns that are declared."""

import shutil
from itertools import chain

import pytest
from click.testing import CliRunner
from documents import call, unfit_rows
from outcomes import FAST, MODELS, Outcome

from stepimp.commands import main
from stepimp.results import Run
from stepimp.rows import PARTS


@pytest.fixture(scope="module", autouse=True)
def declared_columns():
    """Fails a run whose document has other columns than `stepimp.rows` declares."""
    finish = Run.finish

    def checked(run, rows, **extra):
        document = finish(run, rows, **extra)
        assert run.command not in PARTS or not unfit_rows(document), unfit_rows(document)
        return document

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "finish", checked)
        yield


@pytest.fixture(scope="session")
def curve_options(tiny_family, tiny_text):
    """The command line of a small measurement."""
    measured = ["--heavy", "2b", "--light", "1b", "--family", tiny_family, "--data", tiny_text]
    return [*measured, "--sequences", 6, "--points", 4, "--batch-size", 3]


@pytest.fixture(scope="session")
def measured(tmp_path_factory, curve_options):
    """A results folder with curves, and what kl and then loss printed of them."""
    out = tmp_path_factory.mktemp("curves")
    options = [*curve_options, "--baseline", "2b_seed2", "--out", out]
    return out, {command: call(command, *options) for command in ("kl", "loss")}


@pytest.fixture
def run(tiny_family, tiny_text, tmp_path, monkeypatch):
    """A function (command, *options) -> Outcome, on the tiny family and text, with results in the
    test's own folder.
    """
    monkeypatch.setenv("STEPIMP_FAMILY", str(tiny_family))
    monkeypatch.setenv("STEPIMP_RESULTS", str(tmp_path / "results"))

    def run(command, *options):
        given = MODELS.get(command, [])
        pairs = [pair for pair in zip(given[::2], given[1::2]) if pair[0] not in options]
        arguments = [command, *chain(*pairs)]
        if command in ("loss", "kl"):
            arguments += ["--data", tiny_text, *FAST]
        return Outcome(CliRunner().invoke(main, [str(one) for one in (*arguments, *options)]))

    return run


@pytest.fixture
def written(tmp_path):
    """A function -> the names of all results files."""
    return lambda: sorted(file.name for file in (tmp_path / "results").glob("*"))


@pytest.fixture
def copied(tiny_family, tmp_path):
    """A copy of 2b to spoil."""
    return shutil.copytree(tiny_family / "2b", tmp_path / "copied")
