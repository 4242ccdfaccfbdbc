"""Which judge a family has, and a tokenizer that is not the judge's."""

import json
import shutil

import pytest

from stepimp.errors import StepimpError
from stepimp.models.family import family_folder, read_manifest, write_manifest
from stepimp.models.loading import open_tokenizer
from stepimp.quality.judge import judge_of, load_judge


@pytest.fixture
def copied(tiny_family, tmp_path):
    """A copy of the tiny judge to spoil."""
    return shutil.copytree(tiny_family / "judge", tmp_path / "judge")


def test_a_family_has_its_own_judge_or_gpt2(tiny_family, tmp_path):
    assert judge_of(tiny_family) == str(tiny_family / "judge")
    assert judge_of(tmp_path) == "gpt2"


def test_a_family_without_a_judge_has_the_bundled_one_of_its_text(tmp_path):
    facts = {"blocks": 1, "seed": 1, "heldout_nelbo_nats": 1.0, "data": "code"}
    manifest = read_manifest(tmp_path) | {"members": {"1b": facts, "2b": facts}}
    write_manifest(tmp_path, manifest)
    assert judge_of(tmp_path) == str(family_folder("code") / "judge")
    manifest["members"]["2b"] = facts | {"data": "docs"}
    write_manifest(tmp_path, manifest)
    assert judge_of(tmp_path) == "gpt2"


def test_members_that_were_added_have_no_text_and_so_no_judge_of_it(tiny_family, tmp_path):
    manifest = read_manifest(tiny_family)
    for facts in manifest["members"].values():
        facts.pop("data", None)
    write_manifest(tmp_path, manifest)
    assert judge_of(tmp_path) == "gpt2"


def test_a_family_s_own_judge_answers_to_the_name_in_results(tiny_family, tmp_path, monkeypatch):
    name = f"{tiny_family.name}/judge"
    assert judge_of(tiny_family, name) == str(tiny_family / "judge")
    assert judge_of(tmp_path, "docs/judge") == str(family_folder("docs") / "judge")
    assert judge_of(tiny_family, "gpt2-large") == "gpt2-large"
    shutil.copytree(tiny_family / "judge", tmp_path / "docs" / "judge")
    monkeypatch.chdir(tmp_path)
    assert judge_of(tiny_family, "docs/judge") == "docs/judge", "a path that is there comes first"


def test_a_tokenizer_that_the_judge_was_not_trained_with_is_refused(copied):
    """An id beyond the model's rows, or a token fewer than recipe.json has."""
    file = copied / "tokenizer.json"
    whole = json.loads(file.read_text())
    vocabulary = whole["model"]["vocab"]
    (copied / "recipe.json").write_text(
        json.dumps({"vocab_size": len(open_tokenizer(str(copied)))})
    )
    for changed in (vocabulary | {"a": 10**9}, {k: v for k, v in vocabulary.items() if k != "ĝ"}):
        file.write_text(json.dumps(whole | {"model": whole["model"] | {"vocab": changed}}))
        with pytest.raises(StepimpError, match="does not fit the model"):
            load_judge(str(copied))
