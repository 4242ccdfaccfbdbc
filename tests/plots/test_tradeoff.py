"""The trade-off and the recommendation: every schedule is named, and nothing collides."""

from typing import get_args

import pytest
from filled import recommendation
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from read_artists import words_of

from stepimp.plots import style, tradeoff
from stepimp.plots.figures import draw
from stepimp.rows import Objective


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


@pytest.mark.parametrize("column", ["relative_kl_nats", "loss_abs_diff_nats"])
def test_the_recommended_schedule_is_under_its_curve(column):
    document = recommendation(
        lights=("4b", "8b"),
        tradeoff=("12b:10", "8b:5,12b:5", "4b:10"),
        chosen="L3,H7",
        columns=[column],
        curve_models=("4b", "8b", "10b"),
    )
    above, below = draw("recommended", document).axes
    title = {"relative_kl_nats": "Relative KL", "loss_abs_diff_nats": "Absolute difference"}[column]
    assert above.get_title("left") == title
    assert above.get_xlim() == below.get_xlim() == (1, 0)
    labels = [line.get_label() for line in above.lines]
    assert labels == ["4b", "8b"], "only what the recommendation could choose"
    assert [text.get_text() for text in below.get_yticklabels()] == ["recommended", "sandwich"]
    first = below.patches[0]
    assert (first.get_x(), round(first.get_width(), 6)) == (1, -0.3)
    shallowest = to_hex(style.colours(document)["4b"])
    assert to_hex(first.get_facecolor()) == shallowest, "L is the shallowest"


@pytest.mark.parametrize(
    ("changes", "budget", "objective"),
    [
        ({}, "light fraction", "relative KL"),
        ({"baseline": None}, "light fraction", "predicted KL"),
        ({"by": "nelbo", "save_flops": True}, "saved FLOPs", "NELBO"),
    ],
)
def test_the_trade_off_says_what_is_traded(changes, budget, objective):
    figure = draw("tradeoff", recommendation(**changes))
    (ax,) = figure.axes
    assert budget in ax.get_xlabel() and objective in ax.get_ylabel()
    assert ax.get_xlim()[1] == (0.5 if "save_flops" in changes else 1)
    assert "Recommended: L3,H7, 15.0%" in words_of(figure)


def test_each_objective_has_the_label_of_its_axis():
    unlabelled = set(get_args(Objective)) - tradeoff.OBJECTIVES.keys()
    assert not unlabelled, "add them to OBJECTIVES of plots/tradeoff.py"
