"""The page of everything: well-formed, self-contained, escaped, the same bytes every time."""

import base64
import hashlib
import re

import pytest
from filled import recommendation
from read_page import FIGURES, Elements, data_of, drawn, whole

from stepimp.paper.describe import reference_folder

EVIL = '<script>alert("1&2")</script>'


def test_the_page_nests_and_every_reference_stays_on_it():
    elements = Elements(whole(figures=FIGURES | {"figure5": drawn()}))
    ids = elements.values("id")
    assert len(ids) == len(set(ids))
    pointers = elements.values("href", "xlink:href", "src")
    assert pointers and all(pointer[1:] in ids for pointer in pointers if pointer != "data:,")
    assert set(elements.values("for", "aria-labelledby")) <= set(ids)


def test_the_page_loads_nothing():
    text = whole(figures=FIGURES | {"figure5": drawn()})
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"' <)]*", text)) <= namespaces
    assert "@import" not in text and set(re.findall(r"url\((.)", text)) <= {"#"}
    assert Elements(text).named("meta")[1][1]["content"].startswith("default-src 'none';")


def test_only_our_script_may_run():
    elements = Elements(whole())
    script = elements.named("script")[-1][2]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in elements.named("meta")[1][1]["content"]


def test_figures_tables_and_what_is_missing_have_anchors_and_captions():
    elements = Elements(whole())
    assert [element[1]["id"] for element in elements.named("figure")] == ["figure4", "tradeoff"]
    captions = [element[2].strip() for element in elements.named("figcaption")]
    assert captions == ["50 sequences.", "Line: the best."]
    titles = [element[2] for element in elements.named("b")]
    assert titles == ["Figure 4. Loss <difference>.", "What it costs."]
    assert (
        elements.named("div", id="table1")
        and elements.named("span", id="figure9")[0][2] == "Figure 9"
    )
    assert "Table 1. Size <of> it" in [element[2] for element in elements.named("span")]
    assert "stepimp compare --prefix-length 32" in [
        element[2] for element in elements.named("code")
    ]


def test_a_verdict_is_said_in_words():
    elements = Elements(whole())
    assert [element[2] for element in elements.named("strong")] == [
        "✗ not reproduced",
        "? undecided",
    ]
    assert [element[2] for element in elements.named("p", **{"class": "reason"})][0] == "It falls."
    assert "2. The sandwich is best" in [element[2] for element in elements.named("p")]
    assert {"stepimp compare", "stepimp search"} <= {
        element[2] for element in elements.named("code")
    }


def test_the_origin_of_every_document_is_told():
    other = recommendation() | {"command": "kl", "path": "/home/me/kl-1.json"}
    text = whole(documents=[other, recommendation()])
    elements = Elements(text)
    assert len(elements.named("details")) == 2 and all(
        "open" not in element[1] for element in elements.named("details")
    )
    for value in (
        "abc123",
        "2026-01-02T03:04:05+00:00",
        "1.5",
        "float32",
        "print-0",
        "print-data",
        "kl-1.json",
        "7",
    ):
        assert value in [element[2] for element in elements.found], value
    assert "/home/me" not in text


def test_names_from_documents_are_escaped():
    document = recommendation(heavy=EVIL, lights=(f"{EVIL}4b",), data=EVIL, family=EVIL)
    document |= {"path": f"{EVIL.replace('/', '')}.json"}
    document["curve_params"]["data"] = EVIL
    document["provenance"] |= {"command_line": EVIL, "git_commit": EVIL}
    bad = {"claim": EVIL, "reason": EVIL, "needs": EVIL, "verdict": "undecided"}
    table = {"name": "table1", "title": EVIL, "columns": [EVIL], "rows": [[EVIL]], "note": EVIL}
    text = whole(
        document,
        figures={"figure4": (EVIL, EVIL, "<svg></svg>")},
        claims=[bad],
        tables=[table],
        missing={"figure9": [EVIL]},
    )
    assert EVIL not in text and "<script>alert" not in text
    scripts = Elements(text).named("script")
    assert len(scripts) == 2
    assert data_of(text)["tradeoff"][0]["segments"] == [[EVIL, 10]]
    assert {"&lt;script&gt;", "\\u003cscript>"} <= set(
        re.findall(r"&lt;script&gt;|\\u003cscript>", text)
    )


def test_a_figure_keeps_its_ids_apart_and_gives_up_its_words():
    title, notes, svg = drawn()
    assert title.startswith("Figure 5. Relative KL over t") and "\n" not in title + notes
    assert "9 sequences of docs" in notes
    elements = Elements(svg)
    assert all(
        element[1]["id"].startswith("figure5-") for element in elements.found if "id" in element[1]
    )
    assert elements.named("svg")[0][1]["role"] == "img"
    assert not elements.named("style") and not elements.named("metadata") and "<!--" not in svg


def test_the_same_results_give_the_same_bytes():
    assert drawn() == drawn() and whole() == whole()


def test_without_a_recommendation_the_explorer_is_left_out():
    document = recommendation() | {"command": "kl"}
    elements = Elements(whole(document, missing={"explorer": ["stepimp recommend --budget 0.25"]}))
    assert not elements.named("script") and not elements.named("input")
    assert "stepimp recommend --budget 0.25" in [element[2] for element in elements.named("code")]
    assert "#explorer" not in [element[1].get("href") for element in elements.named("a")]


@pytest.mark.parametrize("part", ["figures", "tables", "claims"])
def test_what_is_empty_has_no_heading(part):
    headings = [
        element[2]
        for element in Elements(whole(**{part: {} if part == "figures" else []})).named("h2")
    ]
    assert len(headings) == 5


def test_what_is_of_the_shipped_run_is_counted():
    shipped = recommendation() | {"path": str(reference_folder() / "recommend-0.json")}
    assert "shipped reference run" not in whole()
    assert "1 of them from the shipped reference run" in whole(documents=[shipped])
