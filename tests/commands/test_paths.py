"""Checkpoints, families and texts by other paths: results hold from any working directory, and are
found again.
"""

import json
import shutil

import pytest
from documents import call

from stepimp.documents import read_document
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


@pytest.fixture
def moving(tiny_family, tiny_text, tmp_path, monkeypatch):
    """A folder with a family "first" and a text to move about, the working directory."""
    shutil.copytree(tiny_family, tmp_path / "first")
    shutil.copy(tiny_text, tmp_path / "text.txt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def measure(family, data, out="results"):
    sizes = ["--heavy", "2b", "--light", "1b", "--sequences", 6, "--points", 4, "--json"]
    options = ["--family", family, "--data", data, "--out", out]
    return json.loads(call("kl", *sizes, *options).stdout)


def test_a_measurement_is_found_again_by_any_path_of_its_text_and_family(moving, monkeypatch):
    document = measure("first", "text.txt")
    assert document["params"]["data"] == str(moving / "text.txt")
    (moving / "link").symlink_to("text.txt")
    (moving / "below").mkdir()
    for family, data in (("./first", "./text.txt"), (moving / "first", moving / "link")):
        assert measure(family, data) == document
    monkeypatch.chdir(moving / "below")
    assert measure("../first", "../text.txt", "../results")["rows"] == document["rows"]
    assert len(list((moving / "results").glob("*"))) == 1


def test_a_measurement_of_a_family_that_was_moved_is_found_and_says_where_it_is_now(moving):
    started = measure("first", "text.txt")["provenance"]["started"]
    (moving / "first").rename("second")
    (moving / "text.txt").rename("words.txt")
    document = measure("second", "words.txt")
    assert document["provenance"]["started"] == started
    (file,) = (moving / "results").iterdir()
    params = read_document(file)["params"]
    assert (params["family"], params["data"]) == (f"{moving}/second", f"{moving}/words.txt")
    here = ["--family", "second", "--out", "results"]
    verified = ["--verify", "--samples", 2, "--budget", 0.5]
    call("recommend", "--heavy", "2b", "--light", "1b", "--steps", 4, *verified, *here)
    call("generate", "--samples", 1, *here)


def test_a_family_of_the_same_weights_and_another_noise_schedule_is_measured_anew(moving):
    documents = [measure("first", "text.txt")]
    for config in (moving / "first").glob("*/config.json"):
        facts = json.loads(config.read_text())
        config.write_text(json.dumps(facts | {"noise": "loglinear"}))
    documents.append(measure("first", "text.txt"))
    assert documents[0]["rows"] != documents[1]["rows"]
    assert len(list((moving / "results").iterdir())) == 2


@pytest.mark.parametrize("name", ["2b", "someone/model", "missing"])
def test_names_that_are_no_path_stay(tiny_family, name, monkeypatch):
    monkeypatch.chdir(tiny_family)
    assert full_name(name, tiny_family) == name
