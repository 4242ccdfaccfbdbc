"""Figures are read as artists: lines, bands, bars and texts, never pixels."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from stepimp.paper.peak import peak_statement
from stepimp.plots import (
    bars,
    coarse,
    figures,
    foreseen,
    kl,
    loss,
    schedule,
    segments,
    style,
    tradeoff,
)
from stepimp.plots.notes import measured, with_half

TIMES = [0.1, 0.3, 0.5, 0.7, 0.9, 1.0]
COLOURS = {"12b": "#000000", "4b": "#123456", "8b": "#654321"}


def curve_rows(shape, columns, models=("4b", "8b"), band=0.1):
    """One row per model and time, all columns at shape(t) times the model's place."""
    rows = []
    for place, model in enumerate(models, 1):
        for t in TIMES:
            row = {"t": t, "model": model, "sequences": 50}
            for column in columns:
                value = place * shape(t)
                row |= {
                    column: value,
                    f"{column}_low": value - band,
                    f"{column}_high": value + band,
                }
            rows.append(row)
    return rows


def hill(t):
    return math.sin(math.pi * t)


def document(**changes):
    params = {
        "heavy": "12b",
        "lights": ["4b", "8b"],
        "baseline": "12b_seed2",
        "data": "docs",
        "inputs": "text",
    }
    blocks = {"12b": 12, "4b": 4, "8b": 8, "12b_seed2": 12}
    rows = curve_rows(hill, kl.TITLES)
    return {
        "command": "kl",
        "params": params | changes,
        "blocks": blocks,
        "rows": rows,
        "provenance": {"version": "9.8"},
    }


def line(ax, label):
    return next(one for one in ax.lines if one.get_label() == label)


def band_of(ax, number):
    """(t, low, high) of the number-th band."""
    corners = ax.collections[number].get_paths()[0].vertices
    return [(t, *np.sort(corners[np.isclose(corners[:, 0], t), 1])[[0, -1]]) for t in TIMES]


@pytest.mark.parametrize(
    ("draw", "column"),
    [
        (loss.draw, "loss_abs_diff_nats"),
        (loss.draw, "loss_diff_nats"),
        (kl.draw, "kl_nats"),
        (kl.draw, "relative_kl_nats"),
    ],
)
def test_curves_show_the_rows_with_their_bands(draw, column):
    ax, rows = Figure().subplots(), curve_rows(hill, [column])
    draw(ax, rows[::-1], COLOURS, column)  # the order of the rows does not matter
    for model in ("4b", "8b"):
        own = [row for row in rows if row["model"] == model]
        drawn = line(ax, model)
        assert drawn.get_xdata() == pytest.approx(TIMES)
        assert drawn.get_ydata() == pytest.approx([row[column] for row in own])
        assert drawn.get_color() == COLOURS[model]
        number = [one for one in ax.lines if one.get_label() in COLOURS].index(drawn)
        expected = [(row["t"], row[f"{column}_low"], row[f"{column}_high"]) for row in own]
        assert np.allclose(band_of(ax, number), expected)


def test_time_runs_as_sampling_does():
    ax = Figure().subplots()
    kl.draw(ax, curve_rows(hill, ["kl_nats"]), COLOURS, "kl_nats")
    assert ax.get_xlim() == (1, 0)
    assert "start of sampling" in ax.get_xlabel()


def test_the_baseline_is_drawn_once():
    ax = Figure().subplots()
    kl.draw(ax, curve_rows(hill, kl.TITLES), COLOURS, "baseline_kl_nats")
    assert [one.get_label() for one in ax.lines] == ["baseline"]
    assert ax.lines[0].get_xdata().tolist() == TIMES


def test_a_curve_without_a_band_is_still_drawn():
    ax, rows = Figure().subplots(), curve_rows(hill, ["kl_nats"], models=["4b"])
    for row in rows:
        row |= {"kl_nats_low": None, "kl_nats_high": None}
    kl.draw(ax, rows, COLOURS, "kl_nats")
    assert np.isfinite(line(ax, "4b").get_ydata()).all()


def bar(patch):
    """(row, start, end, colour) of a segment; t falls from its start to its end."""
    row = patch.get_y() + patch.get_height() / 2
    return (
        round(row),
        patch.get_x(),
        patch.get_x() + patch.get_width(),
        to_hex(patch.get_facecolor()),
    )


def test_a_strip_covers_the_time_axis_in_the_order_of_sampling():
    ax = Figure().subplots()
    rows = [
        {"name": "a", "schedule": "L125,H750,L125"},
        {"name": "b", "schedule": "8b:250,12b:750"},
    ]
    schedule.draw(ax, rows, "12b", "4b", COLOURS)
    heavy, light, other = (COLOURS[model] for model in ("12b", "4b", "8b"))
    assert [bar(patch) for patch in ax.patches] == [
        (0, 1, 0.875, light),
        (0, 0.875, 0.125, heavy),
        (0, 0.125, 0, light),
        (1, 1, 0.75, other),
        (1, 0.75, 0, heavy),
    ]
    assert ax.get_xlim() == (1, 0)
    assert [text.get_text() for text in ax.texts] == ["125", "750", "125", "250", "750"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first row is on top"


def test_a_narrow_segment_has_no_label():
    ax = Figure().subplots()
    schedule.draw(ax, [{"name": "a", "schedule": "L10,H990"}], "12b", "4b", COLOURS)
    assert [text.get_text() for text in ax.texts] == ["990"]


BARS = [
    {
        "label": "sandwich",
        "value": 0.02,
        "low": -0.01,
        "high": 0.05,
        "colour": "#123456",
        "remark": "44.3",
    },
    {
        "label": "all-light",
        "value": 0.2,
        "low": 0.1,
        "high": 0.3,
        "colour": "#654321",
        "remark": "53.4",
    },
    {
        "label": "once",
        "value": -0.1,
        "low": None,
        "high": None,
        "colour": "#654321",
        "remark": "40",
    },
]
PUBLISHED = [{"value": 0.03, "low": 0.01, "high": 0.06}, {"value": 0.25}, None]


def test_bars_show_values_intervals_and_what_was_published():
    ax = Figure().subplots()
    bars.draw(ax, BARS, PUBLISHED, "change", "gen-PPL")
    assert [(bar.get_width(), to_hex(bar.get_facecolor())) for bar in ax.patches] == [
        (row["value"], row["colour"]) for row in BARS
    ]
    assert [text.get_text() for text in ax.get_yticklabels()] == [row["label"] for row in BARS]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first row is on top"
    lines = [
        (list(line.get_xdata()), *np.round(line.get_ydata()))
        for line in ax.lines
        if len(line.get_xdata()) == 2
    ]
    expected = [
        ([-0.01, 0.05], 0, 0),
        ([0.01, 0.06], 0, 0),
        ([0.1, 0.3], 1, 1),
    ]  # ours, published, ours
    assert lines == [*expected, ([0, 0], 0, 1)], "the last is the zero line"
    markers = [line for line in ax.lines if line.get_label() == "paper"]
    assert [(line.get_xdata()[0], round(line.get_ydata()[0])) for line in markers] == [
        (0.03, 0),
        (0.25, 1),
    ]
    assert [text.get_text() for text in ax.texts] == ["44.3", "53.4", "40", "gen-PPL"]
    assert ax.get_xlim()[0] < -0.1 and ax.get_xlim()[1] > 0.3


def search_rows(names):
    return [
        {
            "rank": k,
            "segments": name,
            "gen_ppl": 40.0 + k,
            "gen_ppl_low": 39.0 + k,
            "gen_ppl_high": 43.0 + k,
        }
        | dict.fromkeys(foreseen.COLUMNS, 0.1 * k)
        for k, name in enumerate(names, 1)
    ]


def test_coarse_schedules_are_rows_of_equal_segments():
    ax = Figure().subplots()
    coarse.draw(ax, search_rows(["LHHL", "HHLL"]), {"H": "#000000", "L": "#123456"})
    assert [bar(patch)[:2] for patch in ax.patches] == [
        (y, x) for y in (0, 1) for x in (1, 0.75, 0.5, 0.25)
    ]
    assert [bar(patch)[3] == "#123456" for patch in ax.patches] == [
        letter == "L" for letter in "LHHLHHLL"
    ]
    assert ax.get_xlim() == (1, 0) and "start of sampling" in ax.get_xlabel()
    assert [text.get_text() for text in ax.texts] == ["41.0 ±2.0", "42.0 ±2.0"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["1", "2"]


@pytest.mark.parametrize(
    ("value", "half", "shown"),
    [
        (244.7, 117.3, "245 ±117"),
        (135.52, 6.98, "135.5 ±7.0"),
        (3.0, 0.0123, "3.000 ±0.012"),
        (2.0, 0.0, "2.00 ±0.00"),
    ],
)
def test_a_value_has_as_many_decimals_as_its_interval_bears(value, half, shown):
    assert with_half({"x": value, "x_low": value - half, "x_high": value + half}, "x") == shown


def test_segment_bars_stand_at_their_times():
    ax = Figure().subplots()
    rows = [
        {"t_from": 1.0, "t_to": 0.5, "x": 2.0, "x_low": 1.0, "x_high": 4.0},
        {"t_from": 0.5, "t_to": 0.0, "x": -1.0, "x_low": -3.0, "x_high": 0.0},
    ]
    segments.draw(ax, rows, "x", "#123456", chance=0.4)
    assert [(p.get_x() + p.get_width() / 2, p.get_height()) for p in ax.patches] == [
        (0.75, 2),
        (0.25, -1),
    ]
    assert [list(line.get_ydata()) for line in ax.lines] == [[1, 4], [-3, 0], [0.4, 0.4]]
    assert ax.get_xlim() == (1, 0) and "start of sampling" in ax.get_xlabel()


def test_predictions_stand_against_what_was_measured():
    ax, rows = Figure().subplots(), search_rows(["LHHL", "HHLL", "HLHL"])
    foreseen.draw(ax, rows, "predicted_path_kl_nats", "#123456")
    dots, star = ax.lines
    assert dots.get_xydata() == pytest.approx(np.array([[0.1, 41], [0.2, 42], [0.3, 43]]))
    assert star.get_xydata() == pytest.approx(np.array([[0.1, 41]])), "the best is first"
    intervals = [segment[:, 1].tolist() for segment in ax.collections[0].get_segments()]
    assert intervals == [[40, 44], [41, 45], [42, 46]]


def tradeoff_rows(slope):
    places = {
        "all-heavy": (0, 0.0),
        "recommended": (0.25, 0.0),
        "sandwich": (0.25, 0.01),
        "1st quarter": (0.25, 0.02),
        "2nd quarter": (0.25, 0.6),
        "all-light": (1, 0.0),
    }  # light fraction, height above the line
    return [
        {"name": name, "light_fraction": x, "objective": slope * x + above}
        for name, (x, above) in places.items()
    ]


@pytest.mark.parametrize("slope", [5.0, -5.0])  # light steps can also lower the objective
def test_the_trade_off_names_every_schedule_without_collision(slope):
    figure, rows = Figure(figsize=(4, 3)), tradeoff_rows(slope)
    ax = figure.subplots()
    tradeoff.draw(ax, rows, [{"light_fraction": x, "objective": slope * x} for x in (1, 0, 0.5)])
    line = ax.lines[0].get_xydata()
    assert line.tolist() == [[0, 0], [0.5, slope / 2], [1, slope]]
    points = {row["name"]: (row["light_fraction"], row["objective"]) for row in rows}
    assert {tuple(point.get_xydata()[0]) for point in ax.lines[1:]} == set(points.values())
    assert {text.get_text(): text.xy for text in ax.texts} == points
    figure.draw_without_rendering()  # places the texts
    boxes = [Text.get_window_extent(text) for text in ax.texts]  # without the hair lines
    (chosen,) = [box for box, text in zip(boxes, ax.texts) if text.get_text() == "recommended"]
    assert chosen.x0 > ax.get_window_extent().x0, "it does not lie over the axis"
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    drawn = ax.transData.transform_path(ax.lines[0].get_path())
    assert not any(drawn.intersects_bbox(box, filled=False) for box in boxes)


def test_labels_far_apart_in_budget_do_not_push_each_other():
    assert tradeoff.spread([(0.1, 1.0), (0.1, 1.0), (0.9, 1.0)], 0.2, 0.5) == [1.0, 1.5, 1.0]


def test_colours_are_stable_and_told_apart_without_hue():
    many = style.colours(document(lights=["8b", "4b"]))
    assert many["8b"] == style.colours(document(lights=["8b"], baseline=None))["8b"]
    assert (many["12b"], many["12b_seed2"]) == (style.HEAVY, style.BASELINE)
    lightness = [
        np.dot(to_rgb(style.LIGHTS(share)), [0.2126, 0.7152, 0.0722])
        for share in np.linspace(0, 1, 13)
    ]
    assert (np.diff(lightness) < 0).all(), "the deeper the darker"


def statement(shape, **kind):
    return peak_statement(curve_rows(shape, ["relative_kl_nats"], models=["4b"], **kind))


def test_a_peak_in_the_middle_is_told():
    assert (
        statement(hill)
        == "As the paper claims, the relative KL peaks in the middle for 4b (t = 0.5)."
    )


@pytest.mark.parametrize("shape", [lambda t: t, lambda t: -t, lambda t: 0.0])
def test_no_peak_is_claimed_for_a_curve_that_has_none(shape):
    assert statement(shape).startswith("No peak in the middle is resolved in the relative KL of 4b")


def test_a_peak_lost_in_its_band_is_not_claimed():
    assert statement(hill, band=0.34).startswith("As the paper claims")
    assert statement(hill, band=0.36).startswith("No peak in the middle is resolved")
    rows = curve_rows(hill, ["relative_kl_nats"], models=["4b"])
    assert peak_statement([row | {"relative_kl_nats_low": None} for row in rows]).startswith(
        "No peak in the middle"
    )


def test_the_peak_must_stand_above_both_ends():
    assert statement(lambda t: hill(t) + (t == 1.0) * 0.9, band=0.1).startswith(
        "No peak in the middle is resolved"
    )
    assert statement(lambda t: hill(t) + (t == 0.1) * 0.6, band=0.1).startswith(
        "No peak in the middle is resolved"
    )


def test_a_peak_elsewhere_is_called_elsewhere():
    said = statement(lambda t: 1.0 - abs(t - 0.7) * 3)
    assert (
        said
        == "The relative KL peaks above both ends, but outside the paper's t = 0.4 to 0.6, for 4b (t = 0.7)."
    )


def test_each_model_gets_its_own_verdict():
    rows = curve_rows(hill, ["loss_abs_diff_nats"], ["4b"]) + curve_rows(
        lambda t: t, ["loss_abs_diff_nats"], ["8b"]
    )
    assert peak_statement(rows) == (
        "As the paper claims, the absolute loss difference peaks in the middle for 4b (t = 0.5). "
        "No peak in the middle is resolved in the absolute loss difference of 8b (t = 1); "
        "in brackets, where it is largest."
    )


def test_the_footnote_says_what_was_measured():
    text = figures.figure5(document()).get_supxlabel().replace("\n", " ")
    assert (
        "Family docs, heavy 12b, light 4b and 8b, baseline 12b_seed2; 50 sequences of docs; stepimp 9.8."
        in text
    )
    assert "peaks in the middle" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "sampled from 12b" in measured(document(inputs="samples"))


def test_without_a_baseline_the_raw_kl_is_shown_and_said():
    plain = document(baseline=None)
    plain["rows"] = curve_rows(hill, ["kl_nats"])
    for build in (figures.figure5, figures.figure12):
        figure = build(plain)
        assert [ax.get_title("left") or ax.get_title() for ax in figure.axes] == [
            "KL(heavy || light)"
        ]
        assert "no baseline was measured" in figure.get_supxlabel().replace("\n", " ")


def test_figure12_has_three_panels_and_one_legend():
    with style.house():
        figure = figures.figure12(document())
    assert [ax.get_title("left") for ax in figure.axes] == list(kl.TITLES.values())
    assert [text.get_text() for text in figure.legends[0].texts] == ["4b", "8b", "baseline"]


def test_raw_and_baseline_kl_share_a_scale_that_holds_both():
    whole = document()
    for row in whole["rows"]:
        row["baseline_kl_nats"] += 7
    raw, baseline, relative = figures.figure12(whole).axes
    assert (
        raw.get_ylim() == baseline.get_ylim()
        and baseline.get_ylim()[1] > 7 > relative.get_ylim()[1]
    )


def test_a_saved_figure_is_the_same_bytes_in_another_process(tmp_path):
    code = """
import json, sys
from pathlib import Path
from stepimp.plots import figures, style
with style.house():
    style.save(figures.figure5(json.load(sys.stdin)), Path(sys.argv[1]), "figure")
assert "torch" not in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    for place, hashes in (("a", "1"), ("b", "2")):
        (tmp_path / place).mkdir()
        ran = [sys.executable, "-c", code, tmp_path / place]
        environment = os.environ | {"PYTHONHASHSEED": hashes, "SOURCE_DATE_EPOCH": hashes}
        subprocess.run(ran, input=json.dumps(document()), text=True, check=True, env=environment)
    for name in ("figure.png", "figure.pdf", "figure.svg"):
        first, second = ((tmp_path / place / name).read_bytes() for place in "ab")
        assert first == second and len(first) > 1000
    assert b"CreationDate" not in (tmp_path / "a" / "figure.pdf").read_bytes()
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == [
        "figure.pdf",
        "figure.png",
        "figure.svg",
    ]


def test_a_failed_save_leaves_the_old_figure(tmp_path):
    class Full(Figure):
        def savefig(self, file, **options):
            file.write_bytes(b"half")
            raise OSError("disk full")

    (tmp_path / "figure.png").write_bytes(b"old")
    with pytest.raises(OSError, match="disk full"):
        style.save(Full(), tmp_path, "figure")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [
        ("figure.png", b"old")
    ]


def recommendation(curves, **changes):
    """A document of `recommend` with two light models, the shallower one named last."""
    params = {"lights": ["8b", "4b"], "by": "kl", "segments": 3, "save_flops": False} | changes
    whole = document(**params)
    plans = {"recommended": ("L250,H750", 0.25, 1.0), "sandwich": ("L125,H750,L125", 0.25, 2.0)}
    plans["all-heavy"] = ("H1000", 0, 0.0)
    rows = [
        {
            "name": name,
            "schedule": text,
            "light_fraction": part,
            "saved_flops": part / 2,
            "objective": objective,
        }
        for name, (text, part, objective) in plans.items()
    ]
    return whole | {
        "rows": rows,
        "tradeoff": rows,
        "curves": curves,
        "curve_params": whole["params"],
    }


@pytest.mark.parametrize("column", ["relative_kl_nats", "loss_abs_diff_nats"])
def test_the_recommended_schedule_stands_under_its_curve(column):
    whole = recommendation(curve_rows(hill, [column], models=("4b", "8b", "10b")))
    with style.house():
        above, below = figures.recommended(whole).axes
    title = {"relative_kl_nats": "Relative KL", "loss_abs_diff_nats": "Absolute difference"}[column]
    assert above.get_title("left") == title
    assert above.get_xlim() == below.get_xlim() == (1, 0)
    assert [one.get_label() for one in above.lines] == ["4b", "8b"], (
        "only what the recommendation could choose"
    )
    assert [text.get_text() for text in below.get_yticklabels()] == ["recommended", "sandwich"]
    assert bar(below.patches[0]) == (0, 1, 0.75, to_hex(style.colours(whole)["4b"])), (
        "L is the shallowest"
    )


@pytest.mark.parametrize(
    ("changes", "budget", "objective"),
    [
        ({}, "light fraction", "relative KL"),
        ({"baseline": None}, "light fraction", "predicted KL"),
        ({"by": "nelbo", "save_flops": True}, "saved FLOPs", "NELBO"),
    ],
)
def test_the_trade_off_says_what_is_traded(changes, budget, objective):
    figure = figures.trade_off(recommendation(curve_rows(hill, ["kl_nats"]), **changes))
    (ax,) = figure.axes
    assert budget in ax.get_xlabel() and objective in ax.get_ylabel()
    assert ax.get_xlim()[1] == (0.125 if "save_flops" in changes else 0.25)
    assert "Recommended: L250,H750, 12.5%" in figure.get_supxlabel().replace("\n", " ")
