import os

import pytest
from by_hand import comparison, curves, document, fractions, plans, search, sizes, write

from stepimp.commands import main
from stepimp.commands.reproduce import sample_length
from stepimp.errors import StepimpError
from stepimp.models.family import family_folder
from stepimp.paper.needs import (
    LENGTH,
    NEEDS,
    by_fraction,
    by_light,
    find_documents,
    hand_crafted,
    made_by,
)
from stepimp.paper.numbers import paper
from stepimp.schedules.schedule import parse


def fill(folder):
    """A document for each need, newest last: {need: its path}."""
    filled = {
        "loss": document("loss", {"family": None}, []),
        "kl": document("kl", {"family": None}, []),
        "recommend": document("recommend", {"family": None}, []),
        "light_fractions": fractions(),
        "unconditional": comparison(),
        "light_sizes": sizes(),
        "prefix_256": comparison(prefix_length=32),
        "prefix_128": comparison(prefix_length=16),
        "lm1b": comparison(family="code"),
        "search": search([0] * 6),
        "profile": document("profile", {"family": None}, []),
    }
    return {need: write(folder, one, need) for need, one in filled.items()}


def test_each_need_finds_its_own_document_among_all(tmp_path):
    filled = fill(tmp_path)
    found = find_documents(tmp_path)
    assert {need: one["path"] for need, one in found.items()} == {
        need: str(path) for need, path in filled.items()
    }
    assert list(found) == list(NEEDS)


def test_of_several_that_fit_the_newest_counts(tmp_path):
    old, new = (write(tmp_path, comparison(samples=samples), str(samples)) for samples in (5, 6))
    os.utime(new, (2, 2))
    os.utime(old, (1, 1))
    assert find_documents(tmp_path)["unconditional"]["path"] == str(new)
    os.utime(old, (3, 3))
    assert find_documents(tmp_path)["unconditional"]["path"] == str(old)


def test_families_are_told_apart(tmp_path):
    write(tmp_path, comparison(family=str(tmp_path / "mine")), "mine")
    write(tmp_path, comparison(), "bundled")
    assert find_documents(tmp_path)["unconditional"]["path"].endswith("compare-bundled.json")
    assert find_documents(tmp_path, str(tmp_path / "mine"))["unconditional"]["path"].endswith(
        "compare-mine.json"
    )
    assert find_documents(tmp_path, str(tmp_path / "other"))["unconditional"] is None
    assert find_documents(tmp_path, str(family_folder()))["unconditional"]["path"].endswith(
        "compare-bundled.json"
    )


def test_nothing_there_is_none_for_each_need(tmp_path):
    assert find_documents(tmp_path / "absent") == dict.fromkeys(NEEDS)


def test_a_comparison_without_all_seven_is_no_complete_one(tmp_path):
    seven = {
        name: (one, None if name == "all-heavy" else "4b")
        for name, one in plans(8).items()
        if name != "sandwich"
    }
    write(tmp_path, comparison(schedules=seven))
    assert find_documents(tmp_path)["unconditional"] is None


def test_a_document_that_lacks_a_part_is_named(tmp_path):
    broken = comparison()
    del broken["blocks"]
    write(tmp_path, broken)
    with pytest.raises(StepimpError, match="compare-0.json is incomplete"):
        find_documents(tmp_path)


@pytest.mark.parametrize("needs", [("loss", "kl"), ("loss",)])
def test_curves_fill_the_needs_that_no_newer_document_of_its_own_kind_fills(tmp_path, needs):
    """loss and kl are views of one document; earlier versions wrote one of each."""
    path = write(tmp_path, curves())
    if needs == ("loss",):
        old = write(tmp_path, curves(command="kl"))
        os.utime(path, (1, 1))
    documents = find_documents(tmp_path)
    for need, column in (("loss", "ce_nats"), ("kl", "relative_kl_nats")):
        expected = path if need in needs else old
        assert documents[need]["path"] == str(expected)
        others = {"ce_nats", "relative_kl_nats"} - {column}
        assert column in documents[need]["rows"][0].keys() and not (
            others & documents[need]["rows"][0].keys()
        )


def test_hand_crafted_schedules_are_known_by_their_steps_and_not_by_name():
    own = comparison()
    for row in own["rows"]:
        row["name"] = "given"
    assert {name: row["schedule"] for name, row in hand_crafted(own).items()} == {
        "all-light": "L8",
        "1st quarter": "L2,H6",
        "2nd quarter": "H2,L2,H4",
        "3rd quarter": "H4,L2,H2",
        "4th quarter": "H6,L2",
        "sandwich": "L1,H6,L1",
        "all-heavy": "H8",
    }


def test_with_several_light_models_the_lightest_counts():
    own = {name: (one, None if name == "all-heavy" else "4b") for name, one in plans(8).items()}
    both = {
        f"8b {name}": (one, "8b") for name, one in plans(8, "8b").items() if name != "all-heavy"
    } | own
    assert {row["light"] for row in hand_crafted(comparison(schedules=both)).values()} == {
        "4b",
        None,
    }
    assert list(by_light(comparison(schedules=both))) == ["4b", "8b"]


def test_sandwiches_by_size_and_by_fraction():
    assert list(by_light(sizes())) == ["4b", "8b"]
    assert {row["schedule"] for row in by_light(sizes()).values()} == {"L1,H6,L1"}
    assert {part: row["schedule"] for part, row in by_fraction(fractions()).items()} == {
        0: "H8",
        25: "L1,H6,L1",
        50: "L2,H4,L2",
        75: "L3,H2,L3",
        100: "L8",
    }


@pytest.mark.parametrize("need", NEEDS)
def test_the_command_that_fills_a_need_parses_and_is_of_its_kind(need):
    program, command, *options = made_by(need, "mine").split()
    assert (program, command) == ("stepimp", NEEDS[need][0])
    made = main.commands[command].make_context(command, options).params
    assert made["family"] == ("code" if need == "lm1b" else "mine")


def test_the_command_follows_the_length_and_the_family_of_what_is_there():
    there = {"unconditional": comparison(length=1024, family="mine"), "kl": None}
    assert (
        made_by("prefix_256", documents=there)
        == "stepimp compare --prefix-length 256 --family mine"
    )
    assert (
        made_by("prefix_128") == "stepimp compare --prefix-length 8"
        and sample_length(family_folder()) == LENGTH
    )


def test_the_published_schedules_are_in_the_order_of_ours():
    for name in (
        "table3_prefix_256",
        "table4_lm1b",
        "table5_unconditional_entropy",
        "table6_prefix_128",
    ):
        published = [parse(row["schedule"], "12b", "4b") for row in paper()[name]["rows"]]
        assert published == list(plans(published[0].steps).values())
