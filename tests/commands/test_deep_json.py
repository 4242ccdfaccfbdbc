"""JSON that is nested too deeply for Python is damage like any other."""

import shutil
from pathlib import Path

import pytest
from documents import call

from stepimp.headers import read_header
from stepimp.text.pipes import suffix

DEEP = "[" * 100_000


@pytest.mark.parametrize("file", ["2b/config.json", "family.json", "judge/config.json"])
def test_in_a_family(tiny_family, tmp_path, file):
    family = Path(shutil.copytree(tiny_family, tmp_path / "family"))
    (family / file).write_text(DEEP)
    options = ["--family", family, "--out", tmp_path, "--steps", 4, "--samples", 2]
    refused = call("compare", "--schedule", "H4", *options, code=1)
    assert "Error: " in refused.stderr and "bug in stepimp" not in refused.stderr


def test_in_a_schedule_and_in_a_results_folder(tiny_family, tmp_path):
    file = tmp_path / "schedule.json"
    file.write_text(DEEP)
    options = ["--family", tiny_family, "--out", tmp_path, "--steps", 4, "--samples", 2]
    refused = call("compare", "--schedule", file, *options, code=1)
    assert "Error: " in refused.stderr and "bug in stepimp" not in refused.stderr
    file.write_text("{\n" + DEEP)
    assert read_header(file) is None


def test_in_a_pipe(tmp_path):
    (tmp_path / "piped").write_text(DEEP)
    assert suffix(tmp_path / "piped") == ".txt"
