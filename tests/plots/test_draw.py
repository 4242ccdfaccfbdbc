"""Each kind of drawing is read as artists: lines, bands, bars and texts, never pixels."""

import numpy as np
import pytest
from by_hand import curve_rows
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from read_artists import bars_of, intervals_of

from stepimp.intervals import Estimate
from stepimp.plots import bars, coarse, foreseen, kl, loss, schedule, segments
from stepimp.plots.bars import Bar
from stepimp.plots.notes import with_half
from stepimp.plots.style import HEAVY_SEGMENT, LIGHT_SEGMENT

TIMES = [0.1, 0.3, 0.5, 0.7, 0.9, 1.0]
COLOURS = {"12b": "#000000", "4b": "#123456", "8b": "#654321"}


def rows_of(columns, **options):
    return curve_rows(columns, models=("4b", "8b"), times=TIMES, **options)


def line(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


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
    ax, rows = Figure().subplots(), rows_of([column])
    draw(ax, rows[::-1], COLOURS, column)  # the order of the rows does not matter
    for number, model in enumerate(("8b", "4b")):
        model_rows = [row for row in rows if row["model"] == model]
        drawn = line(ax, model)
        assert drawn.get_xdata() == pytest.approx(TIMES)
        assert drawn.get_ydata() == pytest.approx([row[column] for row in model_rows])
        assert to_hex(drawn.get_color()) == COLOURS[model]
        expected = [(row["t"], row[f"{column}_low"], row[f"{column}_high"]) for row in model_rows]
        assert np.allclose(band_of(ax, number), expected)


def test_light_models_are_told_apart_by_dashes_as_well():
    ax = Figure().subplots()
    kl.draw(ax, rows_of(["kl_nats"]), COLOURS, "kl_nats")
    assert line(ax, "4b").get_linestyle() == "-" and line(ax, "8b").get_linestyle() == "--"


def test_time_runs_as_sampling_does():
    ax = Figure().subplots()
    kl.draw(ax, rows_of(["kl_nats"]), COLOURS, "kl_nats")
    assert ax.get_xlim() == (1, 0) and "start of sampling" in ax.get_xlabel()


def test_the_baseline_is_drawn_once():
    ax = Figure().subplots()
    kl.draw(ax, rows_of(kl.TITLES), COLOURS, "baseline_kl_nats")
    assert [line.get_label() for line in ax.lines] == ["two seeds of the heavy model"]
    assert list(ax.lines[0].get_xdata()) == TIMES


def test_a_curve_without_a_band_is_still_drawn():
    ax, rows = Figure().subplots(), curve_rows(["kl_nats"], times=TIMES)
    for row in rows:
        row |= {"kl_nats_low": None, "kl_nats_high": None}
    kl.draw(ax, rows, COLOURS, "kl_nats")
    assert np.isfinite(line(ax, "4b").get_ydata()).all() and not ax.collections


def segment(patch):
    """(row, start, end, colour) of a segment; t falls from its start to its end."""
    row = patch.get_y() + patch.get_height() / 2
    ends = patch.get_x(), patch.get_x() + patch.get_width()
    return round(row), *ends, to_hex(patch.get_facecolor())


def test_a_strip_covers_the_time_axis_in_the_order_of_sampling():
    ax = Figure().subplots()
    rows = [
        {"name": "a", "schedule": "L125,H750,L125"},
        {"name": "b", "schedule": "8b:250,12b:750"},
    ]
    schedule.draw(ax, rows, "12b", "4b", COLOURS)
    heavy, light, other = (COLOURS[model] for model in ("12b", "4b", "8b"))
    assert [segment(patch) for patch in ax.patches] == [
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
    Bar("sandwich", Estimate(44.3, 43.5, 45.2), "#123456"),
    Bar("all-light", Estimate(53.4, 52.0, 54.0), "#654321"),
    Bar("alone", Estimate(40.0), "#654321"),
]


def test_bars_show_values_and_intervals_from_0_in_their_order():
    ax = Figure().subplots()
    bars.draw(ax, BARS, "gen-PPL")
    bars.margin(ax, ["44.3", "53.4", "40"], "gen-PPL")
    assert bars_of(ax) == [
        (bar.label, pytest.approx(bar.estimate.value), bar.colour) for bar in BARS
    ]
    assert intervals_of(ax) == [pytest.approx((0, 43.5, 45.2)), pytest.approx((1, 52.0, 54.0))]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first row is on top"
    assert ax.get_xlabel() == "gen-PPL" and ax.get_xlim()[0] == 0 and ax.get_xlim()[1] > 54
    assert [text.get_text() for text in ax.texts] == ["44.3", "53.4", "40", "gen-PPL"]


def test_changes_are_points_with_the_papers_below_them():
    ax = Figure().subplots()
    bars.draw_changes(ax, BARS, [Estimate(50, 49, 51), None, Estimate(41)], "change")
    points = [line.get_xdata()[0] for line in ax.lines if line.get_label() == "stepimp"]
    assert points == [44.3, 53.4, 40.0]
    assert [
        (line.get_xdata()[0], round(line.get_ydata()[0]))
        for line in ax.lines
        if line.get_label() == bars.PAPER_LABEL
    ] == [(50, 0), (41, 2)]
    assert intervals_of(ax) == [
        pytest.approx((0, 43.5, 45.2), abs=0.2),
        pytest.approx((0, 49, 51), abs=0.2),
        pytest.approx((1, 52, 54), abs=0.2),
    ]


def search_rows(names):
    return [
        {"rank": k, "segments": name, "gen_ppl": 40.0 + k}
        | {"gen_ppl_low": 39.0 + k, "gen_ppl_high": 41.0 + k}
        | dict.fromkeys(foreseen.COLUMNS, 0.1 * k)
        for k, name in enumerate(names, 1)
    ]


def test_coarse_schedules_are_rows_of_segments_light_ones_red():
    ax = Figure().subplots()
    coarse.draw(ax, search_rows(["LHHL", "HHLL"]))
    (mesh,) = ax.collections
    ax.figure.draw_without_rendering()
    colours = [to_hex(colour) for colour in mesh.get_facecolors()]
    assert colours == [
        LIGHT_SEGMENT if letter == "L" else HEAVY_SEGMENT for letter in "LHHL" + "HHLL"
    ]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first row is on top"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "1", "2", "3"]
    assert ax.get_xlim()[0] < ax.get_xlim()[1] and "start of sampling" in ax.get_xlabel()
    assert [text.get_text() for text in ax.texts] == ["41.0 ±1.0", "42.0 ±1.0"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["1", "2"]


@pytest.mark.parametrize(
    ("value", "half", "shown"),
    [
        (244.7, 117.3, "245 ±117"),
        (135.52, 6.98, "135.5 ±7.0"),
        (3.0, 0.0123, "3.000 ±0.012"),
        (2.0, 0.0, "2.00"),
        (44.312, np.nan, "44.31"),
    ],
)
def test_a_value_has_as_many_decimals_as_its_interval_bears(value, half, shown):
    assert with_half(Estimate(value, value - half, value + half)) == shown


def test_an_interval_that_is_not_symmetric_shows_its_ends():
    assert with_half(Estimate(458.2, 238.4, 879.1)) == "458 [238, 879]"


def test_segment_bars_are_in_the_order_of_sampling():
    ax = Figure().subplots()
    rows = [{"x": 2.0, "x_low": 1.0, "x_high": 4.0}, {"x": -1.0, "x_low": -3.0, "x_high": 0.0}]
    segments.draw(ax, rows, "x", "#123456", chance=0.4)
    assert bars_of(ax, horizontal=False) == [("0", 2, "#123456"), ("1", -1, "#123456")]
    assert intervals_of(ax, horizontal=False) == [(0, 1, 4), (1, -3, 0)]
    assert list(ax.lines[-1].get_ydata()) == [0.4, 0.4]
    assert "start of sampling" in ax.get_xlabel()


def test_predictions_are_beside_what_was_measured():
    ax, rows = Figure().subplots(), search_rows(["LHHL", "HHLL", "HLHL"])
    foreseen.draw(ax, rows, "predicted_path_kl_nats", "#123456")
    (star,), (lines, dots) = ax.lines, ax.collections
    assert np.asarray(dots.get_offsets()) == pytest.approx(
        np.array([[0.1, 41], [0.2, 42], [0.3, 43]])
    )
    assert star.get_xydata() == pytest.approx(np.array([[0.1, 41]])), "the best is first"
    assert [piece[:, 1].tolist() for piece in lines.get_segments()] == [
        [40, 42],
        [41, 43],
        [42, 44],
    ]
