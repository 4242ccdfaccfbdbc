"""The pictures of notebooks: valid SVG whose shapes are where the values are."""

import math
from xml.etree import ElementTree

import pytest

from stepimp import pictures
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.schedule import parse

SVG = "{http://www.w3.org/2000/svg}"
NAN = math.nan


def shapes(svg: str, kind: str) -> list:
    return ElementTree.fromstring(svg).findall(f".//{SVG}{kind}")


def points(element) -> list[tuple[float, ...]]:
    return [tuple(map(float, pair.split(","))) for pair in element.get("points").split()]


def test_a_schedule_shows_itself_as_a_strip_in_proportion():
    svg = parse("L125,H750,L125", "12b", "4b")._repr_html_()
    widths = [float(piece.get("width")) for piece in shapes(svg, "rect")]
    assert widths == [
        pytest.approx(pictures.WIDTH * share, abs=0.1) for share in (1 / 8, 6 / 8, 1 / 8)
    ]
    fills = [piece.get("fill") for piece in shapes(svg, "rect")]
    assert fills[0] == fills[2] != fills[1]
    words = [text.text for text in shapes(svg, "text")]
    assert "12b, 750 steps" in words and "4b:125,12b:750,4b:125" in words
    assert shapes(svg, "title")[1].text == "12b, 750 steps"


def test_other_schedules_show_themselves_too():
    masked = MaskedSchedule((("4b", 64, 48), ("12b", 48, 0)))._repr_html_()
    plan = Plan((("4b", 2), ("12b", 1), ("12b", 1)))._repr_html_()
    said = [[title.text for title in shapes(svg, "title")] for svg in (masked, plan)]
    assert said[0] == ["4b, 16 masked positions", "12b, 48 masked positions"]
    assert said[1] == ["4b, 2 tokens", "12b, 1 tokens", "12b, 1 tokens"]
    widths = [[float(it.get("width")) for it in shapes(svg, "rect")] for svg in (masked, plan)]
    assert widths == [[155, 465], [310, 155, 155]]


def test_a_deeper_model_is_darker_whatever_the_order_of_names():
    assert pictures.by_depth(["12b", "big", "4b", "12b_seed2"]) == ["4b", "12b", "12b_seed2", "big"]
    for models in (["4b"], ["4b", "8b", "12b"], ["2b", "4b", "6b", "8b", "10b"]):
        shades = pictures.shades(reversed(models))
        places = [pictures.SHADES.index(shades[model]) for model in models]
        assert places == sorted(set(places))


def test_names_are_escaped():
    svg = pictures.strip((("<b>&", 2),), "<b>&2")
    assert shapes(svg, "title")[0].text == "<b>&, 2 steps"


def test_a_curve_is_drawn_from_t_1_at_the_left_with_its_band():
    curve = [
        (0.5, 2.0, 1.0, 3.0),
        (1.0, 0.0, 0.0, 0.0),
        (0.25, NAN, NAN, NAN),
        (0.0, 1.0, NAN, NAN),
    ]
    svg = pictures.plot({"4b": curve}, "KL")
    (line,), (band,) = shapes(svg, "polyline"), shapes(svg, "polygon")
    (x1, y1), (x2, y2), (x3, y3) = points(line)
    assert x1 == pictures.LEFT and x3 == pictures.WIDTH - pictures.RIGHT
    assert x2 == pytest.approx((x1 + x3) / 2, abs=0.1)
    assert y1 - y2 == pytest.approx(2 * (y1 - y3), abs=0.2) and y2 < y3 < y1  # 2, 1 and 0, upwards
    assert points(band)[1][1] == pictures.TOP  # the highest end of a band touches the top
    assert len(points(band)) == 4


def test_a_plot_without_values_is_empty():
    svg = pictures.plot({"4b": [(1.0, NAN, NAN, NAN)]}, "KL")
    assert not shapes(svg, "polyline") and shapes(svg, "text")
