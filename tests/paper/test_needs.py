import os

import pytest
from by_hand import comparison, curves, lm1b, plans, sizes, write
from filled import filled, write_all

from stepimp.commands import main
from stepimp.errors import StepimpError
from stepimp.models.family import family_folder
from stepimp.paper.needs import LM1B_NEEDS, NEEDS, find_documents
from stepimp.paper.recipes import BUNDLED, made_by, members_of, members_or_bundled, recipe

SHARED = ("light_6", "light_8", "light_10", "light_sizes")  # with "unconditional", one document


def test_each_need_finds_its_own_document_among_all(tmp_path):
    paths = write_all(tmp_path)
    paths |= {need: paths["unconditional"] for need in SHARED}
    documents = find_documents(tmp_path)
    assert {need: document["path"] for need, document in documents.items()} == {
        need: str(path) for need, path in paths.items()
    }
    assert list(documents) == list(NEEDS)


def test_of_several_that_fit_the_run_that_began_last_counts(tmp_path):
    for number, day in enumerate(["2026-01-01", "2026-01-03", "2026-01-02"]):
        content = comparison(samples=5 + number)
        content["provenance"] |= {"started": f"{day}T00:00:00+00:00"}
        path = write(tmp_path, content, str(number))
        os.utime(path, (number, number))
    assert find_documents(tmp_path)["unconditional"]["params"]["samples"] == 6


def test_families_are_told_apart(tmp_path):
    write(tmp_path, comparison(family=str(tmp_path / "mine")), "mine")
    write(tmp_path, comparison(), "bundled")

    def path(family):
        document = find_documents(tmp_path, family)["unconditional"]
        return document and document["path"].rpartition("/")[2]

    assert path(None) == path(str(family_folder())) == "compare-bundled.json"
    assert path(str(tmp_path / "mine")) == "compare-mine.json"
    assert path(str(tmp_path / "other")) is None


def test_the_role_of_lm1b_has_its_own_curves_and_as_many_steps_as_tokens(tmp_path):
    write(tmp_path, curves("kl", family="code"))
    write(tmp_path, lm1b(length=128), "more-tokens")
    documents = find_documents(tmp_path)
    assert documents["kl_lm1b"] and not documents["kl"] and not documents["lm1b"]
    write(tmp_path, lm1b())
    assert find_documents(tmp_path)["lm1b"]


def test_nothing_there_is_none_for_each_need(tmp_path):
    assert find_documents(tmp_path / "absent") == dict.fromkeys(NEEDS)


def test_a_comparison_needs_all_seven_schedules(tmp_path):
    six = {
        name: (plan, None if name == "all-heavy" else "4b")
        for name, plan in plans(8).items()
        if name != "sandwich"
    }
    write(tmp_path, comparison(schedules=six))
    assert find_documents(tmp_path)["unconditional"] is None


def test_a_comparison_without_the_shallowest_model_is_about_its_own_size_alone(tmp_path):
    schedules = {
        name: (plan, None if name == "all-heavy" else "8b") for name, plan in plans(8, "8b").items()
    }
    write(tmp_path, comparison(schedules=schedules))
    documents = find_documents(tmp_path)
    assert {need for need in NEEDS if documents[need]} == {"light_8"}


def test_a_document_that_lacks_a_part_is_skipped(tmp_path, caplog):
    broken = comparison()
    del broken["blocks"]
    write(tmp_path, broken)
    whole = write(tmp_path, comparison(), "1")
    assert find_documents(tmp_path)["unconditional"]["path"] == str(whole)
    assert "compare-0.json is incomplete ('blocks')" in caplog.text


@pytest.mark.parametrize("need", NEEDS)
def test_the_command_that_fills_a_need_parses_and_is_of_its_kind(need):
    program, command, *options = made_by(need, "mine").split()
    kind = "recommend_masked" if "masked" in options else command
    kind = "policies" if "--policies" in options else kind
    assert (program, kind) == ("stepimp", NEEDS[need][0])
    params = main.commands[command].make_context(command, options).params
    assert params["family"] == ("code" if need in LM1B_NEEDS else "mine")


def test_the_roles_of_a_family_are_by_depth(tiny_family):
    assert members_of(family_folder()) == members_or_bundled(tiny_family / "none") == BUNDLED
    tiny = members_of(tiny_family)
    assert (tiny.heavy, tiny.lights, tiny.other_seed, tiny.length) == (
        "2b",
        ("1b",),
        "2b_seed2",
        32,
    )
    with pytest.raises(StepimpError, match="holds no family"):
        members_of(tiny_family / "none")
    assert recipe("search", tiny, bundled=False) == ["search", "--heavy", "2b", "--light", "1b"]
    assert made_by("prefix_256", str(tiny_family)).split()[:4] == [
        "stepimp",
        "compare",
        "--prefix-length",
        "8",
    ]


def test_the_bundled_family_is_asked_for_in_few_words():
    assert made_by("prefix_128") == "stepimp compare --prefix-length 32"
    every_light = "--light 4b --light 6b --light 8b --light 10b"
    for need in ("unconditional", *SHARED):
        assert made_by(need) == f"stepimp compare {every_light}"
    assert made_by("lm1b") == "stepimp compare --steps 128 --family code"
    assert made_by("kl_lm1b").startswith("stepimp kl --heavy 12b --light 4b --light 8b --baseline")


def test_a_longer_family_in_the_role_of_lm1b_is_cut_to_the_papers_length():
    import dataclasses

    line = recipe("lm1b", dataclasses.replace(BUNDLED, length=1024))
    assert line == ["compare", "--steps", "128", "--length", "128"]


def test_the_family_is_that_of_what_is_there():
    there = {"unconditional": comparison(family="mine"), "kl": None, "lm1b": lm1b()}
    assert made_by("search", documents=there) == "stepimp search --family mine"
    assert made_by("lm1b", documents=there).endswith("--family code")


def test_one_document_of_all_sizes_fills_five_needs(tmp_path):
    write(tmp_path, sizes())
    documents = find_documents(tmp_path)
    assert {need for need in NEEDS if documents[need]} == {"unconditional", *SHARED}
    assert len(documents["unconditional"]["rows"]) == 25, "28 bars: all-heavy is one of each seven"
    written = set(filled()) | set(SHARED)
    assert written == set(NEEDS), "add a document of each new need to `filled` in tests/filled.py"
