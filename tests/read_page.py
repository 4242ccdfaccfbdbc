"""The page of `stepimp figures`, read as HTML."""

import json
from html.parser import HTMLParser

from filled import recommendation

from stepimp.plots.figures import draw
from stepimp.plots.report import inline, page

VOID = {"meta", "link", "input"}
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
    "figure4": ("Figure 4. Loss <difference>", "50 sequences.", "<svg></svg>"),
    "tradeoff": ("What it costs", "Line: the best.", "<svg></svg>"),
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
    document = recommendation()
    curves = document | {"command": "curves", "rows": document["curves"]}
    return inline(draw("figure5", curves), "figure5")
