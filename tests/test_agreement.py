"""Processes that would do other work than the first one are refused, in words."""

import shutil
from pathlib import Path

import pytest
from together import run_together

from stepimp import agreement
from stepimp.agreement import require_same
from stepimp.errors import StepimpError
from stepimp.processes import Processes
from stepimp.results import Run

MODELS = {"12b": "aa", "4b": "bb"}


def start(rank, params=None, models=None, data="cc"):
    """Begins a run in a process."""
    fingerprints = {"models": MODELS | (models or {}), "data": data}
    return Run(".", "curves", {"steps": 8, "data": "docs", **(params or {})}, fingerprints)


@pytest.mark.parametrize(
    "other, said",
    [
        ({"params": {"steps": 9}}, "steps is 9 there, not 8"),
        ({"params": {"new": 1}}, "new is 1 there, not None"),
        ({"models": {"4b": "dd"}}, "the fingerprint of 4b is dd there, not bb"),
        ({"data": "dd"}, "the fingerprint of data is dd there, not cc"),
    ],
)
def test_a_run_with_other_options_weights_or_text_is_refused(tmp_path, monkeypatch, other, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StepimpError, match=rf"Process 2 \(on .*{said}\. Start the same command"):
        run_together(3, lambda rank: start(rank, **other) if rank == 2 else start(rank))


def test_a_text_may_be_elsewhere_on_each_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_together(2, lambda rank: start(rank, {"data": f"/machine-{rank}/a.txt"}))


def test_another_version_of_stepimp_is_refused(monkeypatch):
    versions = iter(["1", "2"])
    monkeypatch.setattr(agreement, "software", lambda: {"stepimp": next(versions)})
    with pytest.raises(StepimpError, match="stepimp is [12] there, not [12]"):
        run_together(2, lambda rank: require_same(Processes(), {}))


def test_the_source_is_part_of_what_is_compared(monkeypatch, tmp_path):
    names = agreement.software()
    source = Path(agreement.__file__).parent
    shutil.copytree(source, tmp_path / "stepimp")
    (tmp_path / "stepimp" / "commands").mkdir()
    (tmp_path / "stepimp" / "commands" / "kl.py").write_text("where it is installed")
    monkeypatch.setattr(agreement, "__file__", str(tmp_path / "stepimp" / "agreement.py"))
    uncached = agreement.software.__wrapped__
    assert uncached() == names
    (tmp_path / "stepimp" / "noise.py").write_text("changed")
    assert {name for name, value in uncached().items() if names[name] != value} == {
        "the digest of stepimp's source"
    }


def test_one_process_compares_nothing(monkeypatch):
    monkeypatch.setattr(agreement, "software", None)
    require_same(Processes(), {"steps": 8})
