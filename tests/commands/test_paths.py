"""Checkpoints named by relative paths: results hold from any working directory."""

import json

import pytest
from documents import call

from stepimp.models.family import full_name


def test_a_recommendation_holds_from_any_directory(
    tiny_family, tiny_text, tmp_path, monkeypatch, curve_options
):
    monkeypatch.chdir(tiny_family)
    models, out = ["--heavy", "./2b", "--light", "./1b"], ["--out", tmp_path / "results"]
    call("kl", *models, *curve_options[4:], *out)
    call("recommend", "--steps", 8, "--family", tiny_family, *models, *out)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    where = ["--family", tiny_family, *out]
    document = json.loads(call("generate", "--samples", 1, *where, "--json").stdout)
    assert document["params"]["heavy"] == str(tiny_family / "2b")
    assert document["provenance"]["fingerprints"]["models"].keys() <= {
        str(tiny_family / name) for name in ("1b", "2b")
    }


@pytest.mark.parametrize("name", ["2b", "someone/model", "missing"])
def test_names_that_are_no_path_stay(tiny_family, name, monkeypatch):
    monkeypatch.chdir(tiny_family)
    assert full_name(name, tiny_family) == name
