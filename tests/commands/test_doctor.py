"""`stepimp doctor` compares with float64, and says so in a block for bug reports."""

import json
import re

import pytest
import torch
from documents import call

from stepimp import __version__, doctor
from stepimp.kernels import statistics
from stepimp.wording import counted


def test_it_ends_with_a_block_for_bug_reports():
    said = call("doctor", "--device", "cpu").stdout
    assert said.count("passed") == 6 and "FAILED" not in said
    block = re.search(r"```\n(.*)\n```\n\Z", said, re.DOTALL)[1]
    assert block.startswith(f"stepimp {__version__}") and block.endswith("\nself-test: passed")
    words = " ".join(block.split())  # a long line is broken between words
    assert f"torch {torch.__version__}" in words
    assert f"{counted(torch.get_num_threads(), 'thread')} (" in words


def test_it_fits_80_columns():
    said = call("doctor", "--device", "cpu").stdout
    assert max(map(len, said.splitlines())) <= 80


def test_as_json_and_nothing_else(monkeypatch, tmp_path):
    monkeypatch.setenv("STEPIMP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "blocks").write_bytes(bytes(300_000))
    result = call("doctor", "--json", "--device", "cpu")
    found = json.loads(result.stdout)
    assert not result.stderr and found["versions"]["stepimp"] == __version__
    assert found["cache"] == {
        "folder": str(tmp_path / "cache"),
        "megabytes": 0.3,
        "problem": None,
    }
    assert [check["passed"] for check in found["checks"]] == [True] * 5


def test_a_wrong_kernel_fails_it(monkeypatch):
    right = statistics._in_blocks

    def wrong(*arguments):
        ce, kl, entropy = right(*arguments)
        return ce, kl + 1e-3, entropy

    monkeypatch.setattr(statistics, "_in_blocks", wrong)
    said = call("doctor", "--device", "cpu", code=1).stdout
    assert re.search(r"KL +0.001 +0.0001 nats +FAILED", said) and "self-test: failed: KL" in said


def test_a_cache_that_cannot_be_made_is_reported(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("STEPIMP_CACHE", str(tmp_path / "file" / "cache"))
    assert "Cannot make the cache folder" in doctor.cache()["problem"]


def test_a_device_that_is_missing_is_one_message():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert "sees no CUDA device" in call("doctor", "--device", "cuda", code=1).stderr
