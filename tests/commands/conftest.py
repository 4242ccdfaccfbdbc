"""Every document that a command writes here has the columns that are declared."""

import pytest
from documents import call, unfit_rows

from stepimp.results import Run
from stepimp.rows import PARTS


@pytest.fixture(scope="session", autouse=True)
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
