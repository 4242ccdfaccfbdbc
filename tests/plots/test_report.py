"""The page of everything: well-formed, self-contained, escaped, the same bytes every time."""

import base64
import hashlib
import json
import re
from html import unescape
from html.parser import HTMLParser

import pytest

from stepimp.plots import style
from stepimp.plots.explorer import explorer, place
from stepimp.plots.figures import figure5
from stepimp.plots.report import inline, page

EVIL = '<script>alert("1&2")</script>'
VOID = {"meta", "link", "input"}
COSTS = ("path_kl_nats", "nelbo_nats", "objective")


def curve_rows(models):
    rows = []
    for model in models:
        for t in (0.25, 0.5, 0.75, 1.0):
            bands = {
                c + end: t + add
                for c in ("kl_nats", "baseline_kl_nats", "relative_kl_nats")
                for end, add in (("", 0), ("_low", -0.1), ("_high", 0.1))
            }
            rows.append({"t": t, "model": model, "sequences": 9, **bands})
    return rows


def plan(text, light, name="best"):
    costs = {
        cost + end: light + add
        for cost in COSTS
        for end, add in (("", 0), ("_low", -0.1), ("_high", 0.1))
    }
    return {
        "name": name,
        "schedule": text,
        "light_fraction": light,
        "saved_flops": light / 2,
        **costs,
    }


def provenance(models):
    prints = {
        "models": {model: f"print-{k}" for k, model in enumerate(models)},
        "data": "print-data",
    }
    return {
        "version": "9.8",
        "git_commit": "abc123",
        "command_line": "stepimp recommend",
        "device": "cpu",
        "dtype": "float32",
        "seed": 7,
        "fingerprints": prints,
        "started": "2026-01-02T03:04:05+00:00",
        "wall_seconds": 1.5,
    }


def recommendation(
    heavy="12b", lights=("4b",), schedules=("H10", "L5,H5", "L10"), chosen="L3,H7", **changes
):
    """A document of `recommend` whose recommendation lies between two points of its trade-off."""
    shared = {
        "heavy": heavy,
        "lights": list(lights),
        "baseline": "12b_seed2",
        "data": "docs",
        "inputs": "text",
    }
    asked = {
        "by": "kl",
        "segments": 3,
        "steps": 10,
        "save_flops": False,
        "budget": 0.3,
        "family": None,
    }
    params = shared | asked | changes
    moves = [{"before": lights[0], "after": heavy, "t": 0.7, "t_low": 0.6, "t_high": 0.8}]
    return {
        "command": "recommend",
        "params": params,
        "path": "results/recommend-0.json",
        "blocks": {heavy: 12, "12b_seed2": 12}
        | {light: 4 + 2 * k for k, light in enumerate(lights)},
        "provenance": provenance([heavy, *lights]),
        "rows": [plan(chosen, 0.3, "recommended"), plan("H10", 0.0, "all-heavy")],
        "tradeoff": [plan(text, k / 2) for k, text in enumerate(schedules)],
        "curves": curve_rows(lights),
        "curve_params": shared,
        "boundaries": {"agreement": 0.5, "moves": moves},
    }


TABLE = {
    "name": "table1",
    "title": "Table 1. Size <of> it",
    "columns": ["light", "gen-PPL"],
    "rows": [["4b", "44.3"], ["6b", None]],
    "note": "95% & more",
}
CLAIMS = [
    {
        "claim": "It peaks in the middle",
        "verdict": "not reproduced",
        "reason": "it falls.",
        "needs": None,
    },
    {
        "claim": "The sandwich is best",
        "verdict": "undecided",
        "reason": "no results.",
        "needs": "stepimp compare, then stepimp search",
    },
]
FIGURES = {
    "figure4": ("Loss <difference>.", "<svg></svg>"),
    "tradeoff": ("What it costs.", "<svg></svg>"),
}


def whole(document=None, **changes):
    parts = dict(
        figures=FIGURES,
        tables=[TABLE],
        claims=CLAIMS,
        documents=[document or recommendation()],
        missing={"figure9": ["stepimp compare --prefix-length 32"]},
    )
    return page(**parts | changes)


class Elements(HTMLParser):
    """All elements as (name, attributes, text right in it), after a check that they nest."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.found = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, name, attributes):
        assert len(dict(attributes)) == len(attributes), "an attribute twice"
        self.found.append([name, dict(attributes), ""])
        if name not in VOID:
            self.open.append(self.found[-1])

    def handle_startendtag(self, name, attributes):
        self.found.append([name, dict(attributes), ""])

    def handle_endtag(self, name):
        assert self.open.pop()[0] == name

    def handle_data(self, data):
        if self.open:
            self.open[-1][2] += data

    def values(self, *attributes):
        return [one[1][key] for one in self.found for key in attributes if key in one[1]]

    def named(self, name, **attributes):
        return [
            one for one in self.found if one[0] == name and attributes.items() <= one[1].items()
        ]


def data_of(text):
    return json.loads(Elements(text).named("script", type="application/json")[0][2])


def drawn():
    """A figure as the page has it."""
    with style.house():
        figure = figure5(recommendation() | {"rows": curve_rows(["4b"])})
    return inline(figure, "figure5")


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
    assert [one[1]["id"] for one in elements.named("figure")] == ["figure4", "tradeoff"]
    assert [one[2].strip() for one in elements.named("figcaption")] == [
        "Loss <difference>.",
        "What it costs.",
    ]
    assert [one[2] for one in elements.named("b")] == ["Figure 4.", "Tradeoff."]
    assert (
        elements.named("div", id="table1")
        and elements.named("span", id="figure9")[0][2] == "Figure 9"
    )
    assert "Table 1. Size <of> it" in [one[2] for one in elements.named("span")]
    assert "stepimp compare --prefix-length 32" in [one[2] for one in elements.named("code")]


def test_a_verdict_is_said_in_words():
    elements = Elements(whole())
    assert [one[2] for one in elements.named("strong")] == ["✗ not reproduced", "? undecided"]
    assert [one[2] for one in elements.named("p", **{"class": "reason"})][0] == "It falls."
    assert "2. The sandwich is best" in [one[2] for one in elements.named("p")]
    assert {"stepimp compare", "stepimp search"} <= {one[2] for one in elements.named("code")}


def test_the_origin_of_every_document_is_told():
    other = recommendation() | {"command": "kl", "path": "/home/me/kl-1.json"}
    text = whole(documents=[other, recommendation()])
    elements = Elements(text)
    assert len(elements.named("details")) == 2 and all(
        "open" not in one[1] for one in elements.named("details")
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
        assert value in [one[2] for one in elements.found], value
    assert "/home/me" not in text


def test_the_explorer_steps_through_the_trade_off_and_the_recommendation():
    document = recommendation()
    data, slider = data_of(whole(document)), Elements(whole(document)).named("input")[0][1]
    assert [point["schedule"] for point in data["tradeoff"]] == ["H10", "L3,H7", "L5,H5", "L10"]
    points = [data["tradeoff"][k] for k in (0, 2, 3)]
    assert all(row.items() <= point.items() for row, point in zip(document["tradeoff"], points))
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "3", "1") and data["start"] == 1
    point = data["tradeoff"][1]
    assert point["segments"] == [["4b", 3], ["12b", 7]]
    assert (point["texts"]["light"], point["texts"]["saved"], point["texts"]["change"]) == (
        "30.0%",
        "15.0%",
        "+0.3000",
    )
    assert point["texts"]["path_kl_nats"] == "0.3000 [0.2000, 0.4000]"
    assert point["texts"]["command"] == "stepimp generate --schedule L3,H7 --heavy 12b --light 4b"
    shown = {
        one[1]["data-shows"] for one in Elements(whole(document)).found if "data-shows" in one[1]
    }
    assert (
        shown <= point["texts"].keys()
        and {"schedule", "saved", "path_kl_nats", "nelbo_nats"} <= shown
    )
    assert all(
        model in data["models"] for point in data["tradeoff"] for model, _ in point["segments"]
    )


def test_several_light_models_and_saved_flops():
    document = recommendation(
        lights=("4b", "8b"),
        schedules=("12b:10", "8b:5,12b:5", "4b:10"),
        chosen="4b:2,8b:2,12b:6",
        save_flops=True,
        by="nelbo",
    )
    data = data_of(whole(document))
    assert data["tradeoff"][1]["segments"] == [["4b", 2], ["8b", 2], ["12b", 6]]
    assert data["tradeoff"][1]["texts"]["budget"] == "15.0%"
    text = unescape(whole(document))
    assert (
        "saved FLOPs of the blocks" in text
        and "Objective: predicted NELBO (nats per token)" in text
    )
    assert text.count('class="line"') == 3


def test_the_curve_of_importance_runs_from_1_to_0_with_its_band():
    curve = explorer(recommendation())["curve"]
    line = re.search(r'd="M([^"]*)" stroke="#[0-9a-f]{6}" class="line"', curve)[1]
    points = [tuple(map(float, pair.split())) for pair in line.split("L")]
    assert [x for x, _ in points] == [75, 50, 25, 0]
    heights = [y for _, y in sorted(points)]
    assert heights == sorted(heights), (
        "the rows fall towards t = 0, at the right: lower is further down"
    )
    band = re.search(r'd="M([^Z]*)Z"', curve)[1].split("L")
    assert len(band) == 8 and place(0.5, (1, 0)) == 50


def test_curves_without_bands_and_a_flat_trade_off():
    document = recommendation(schedules=("H10",), chosen="H10")
    for row in document["curves"] + document["tradeoff"] + document["rows"]:
        row |= {key: None for key in row if key.endswith(("_low", "_high"))}
    document["rows"][0] |= {"light_fraction": 0.0, "saved_flops": 0.0}
    document["boundaries"] = {"agreement": 1.0, "moves": []}
    text = whole(document)
    assert data_of(text)["tradeoff"][0]["texts"]["path_kl_nats"] == "0.0000"
    assert 'class="band"' not in text and not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_names_from_documents_are_escaped():
    document = recommendation(heavy=EVIL, lights=(f"{EVIL}4b",), data=EVIL, family=EVIL)
    document |= {"path": f"{EVIL.replace('/', '')}.json"}
    document["curve_params"]["data"] = EVIL
    document["provenance"] |= {"command_line": EVIL, "git_commit": EVIL}
    bad = {"claim": EVIL, "reason": EVIL, "needs": EVIL, "verdict": "undecided"}
    table = {"name": "table1", "title": EVIL, "columns": [EVIL], "rows": [[EVIL]], "note": EVIL}
    text = whole(
        document,
        figures={"figure4": (EVIL, "<svg></svg>")},
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


def test_a_figure_keeps_its_ids_apart_and_gives_up_its_small_print():
    caption, svg = drawn()
    assert (
        caption.startswith("KL between")
        and "9 sequences of docs" in caption
        and "\n" not in caption
    )
    elements = Elements(svg)
    assert all(one[1]["id"].startswith("figure5-") for one in elements.found if "id" in one[1])
    assert elements.named("svg")[0][1]["role"] == "img"
    assert not elements.named("style") and not elements.named("metadata") and "<!--" not in svg


def test_the_same_results_give_the_same_bytes():
    assert drawn() == drawn() and whole() == whole()


def test_without_a_recommendation_the_explorer_is_left_out():
    document = recommendation() | {"command": "kl"}
    elements = Elements(whole(document, missing={"explorer": ["stepimp recommend --budget 0.25"]}))
    assert not elements.named("script") and not elements.named("input")
    assert "stepimp recommend --budget 0.25" in [one[2] for one in elements.named("code")]
    assert "#explorer" not in [one[1].get("href") for one in elements.named("a")]


@pytest.mark.parametrize("part", ["figures", "tables", "claims"])
def test_what_is_empty_has_no_heading(part):
    headings = [
        one[2] for one in Elements(whole(**{part: {} if part == "figures" else []})).named("h2")
    ]
    assert len(headings) == 5


def test_a_relative_kl_that_is_nowhere_above_0_is_warned_of():
    document = recommendation()
    assert "cannot tell steps apart" not in whole(document)
    for row in document["curves"]:
        row["relative_kl_nats_low"] = -0.1
    assert "cannot tell steps apart" in whole(document)
    document["params"] |= {"by": "nelbo"}
    assert "cannot tell steps apart" not in whole(document)
