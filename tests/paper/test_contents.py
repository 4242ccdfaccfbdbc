"""The list of the paper's figures and tables, held against what its captions say."""

from pathlib import Path

import pytest

from stepimp.paper.contents import (
    CLAIMS,
    DRAWN,
    EXTRA_TABLES,
    EXTRAS,
    FIGURES,
    NAMES,
    OPTIONAL,
    PAPER_TABLES,
    TABLES,
    label,
    names_for,
    title,
)
from stepimp.paper.needs import NEEDS

FACTS = {"light": 4, "heavy": 12, "ranked": 210, "shown": 5, "extremes": 20}
SEVEN = ("gen-ppl", "seven hand-crafted schedules", "a quarter of the steps", "light model")
# number: (need, words of its title), by the captions of the paper's second version
PAPER_FIGURES = {
    1: ("unconditional", (*SEVEN, "unconditional", "4 blocks")),
    2: ("search", ("5 best (left)", "5 worst (right)", "210 coarse schedules", "in red")),
    3: ("search", ("how often each segment is light", "20 best")),
    4: ("loss", ("mean absolute difference", "masked cross-entropy", "each light model", "over t")),
    5: ("kl", ("relative kl", "less the kl between two seeds", "each light model", "over t")),
    6: ("search", ("influence of each segment", "less the mean of all")),
    7: ("light_6", (*SEVEN, "unconditional")),
    8: ("light_8", (*SEVEN, "unconditional")),
    9: ("light_10", (*SEVEN, "unconditional")),
    10: ("search", ("how often each segment is light", "20 worst")),
    11: ("lm1b", (*SEVEN, "role of lm1b")),
    12: ("kl_lm1b", ("relative kl", "role of lm1b", "over t")),
    13: ("prefix_256", (*SEVEN, "prefix of a quarter of the length")),
    14: ("prefix_128", (*SEVEN, "prefix of an eighth of the length")),
}
CAPTIONS = {
    1: ("light_sizes", ("size of the light model", "sandwich", "a quarter of the steps light")),
    2: ("light_fractions", ("fraction of light steps", "sandwich")),
    3: ("prefix_256", ("prefix of a quarter",)),
    4: ("lm1b", ("lm1b",)),
    5: ("unconditional", ("figure 1", "unconditional")),
    6: ("prefix_128", ("prefix of an eighth",)),
}


@pytest.mark.parametrize(
    ("name", "need", "words"),
    [(f"figure{n}", *expected) for n, expected in PAPER_FIGURES.items()]
    + [(f"table{n}", *expected) for n, expected in CAPTIONS.items()],
)
def test_every_figure_and_table_shows_what_the_paper_has_under_its_number(name, need, words):
    assert (DRAWN | TABLES)[name].need == need
    shown = title(name, **FACTS)
    assert shown.startswith(f"{label(name)}. ") and label(name).split()[1] == name.lstrip(
        "figuretabl"
    )
    assert all(word in shown.lower() for word in words), shown


def test_all_numbers_are_there_and_our_own_have_names():
    assert list(FIGURES) == [f"figure{n}" for n in PAPER_FIGURES]
    assert list(PAPER_TABLES) == [f"table{n}" for n in CAPTIONS]
    assert not any(letter.isdigit() for name in EXTRAS | EXTRA_TABLES for letter in name)
    assert [*FIGURES, *EXTRAS, *TABLES, "claims"] == NAMES
    asked = {item.need for item in (DRAWN | TABLES).values()}
    assert asked == set(NEEDS), "each need is in NEEDS of stepimp/paper/needs.py"


@pytest.mark.parametrize("name", EXTRAS | EXTRA_TABLES)
def test_the_page_of_figures_lists_our_own(name):
    page = (Path(__file__).parents[2] / "docs" / "figures.md").read_text("utf-8")
    assert f"`{name}`" in page, "add it to the table of docs/figures.md"


def test_what_is_optional_appears_once_it_was_measured():
    documents = dict.fromkeys(NEEDS)
    missed = {"policies", "policies-table"}
    assert names_for(documents) == [name for name in NAMES if name not in missed]
    assert names_for(documents | {"policies": {"rows": []}}) == NAMES
    assert set(NEEDS) >= OPTIONAL and CLAIMS in names_for(documents)


def test_a_figure_of_another_light_model_says_so():
    assert "light model of 6 blocks, heavy of 12" in title("figure7", light=6, heavy=12)
    assert title("tradeoff").startswith("What a budget")
    assert title("policies-table").startswith("Ways to use two models")
