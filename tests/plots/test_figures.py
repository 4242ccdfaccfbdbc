"""Every figure of the paper, its artists held against the numbers of its document."""

import math

import numpy as np
import pytest
from by_hand import comparison, curve_rows, curves, fractions, sizes
from filled import by_need
from matplotlib.colors import to_hex
from read_artists import bars_of, intervals_of, words_of

from stepimp.errors import StepimpError
from stepimp.intervals import Estimate
from stepimp.paper.claims import light_rows
from stepimp.paper.contents import DRAWN, FIGURES, title
from stepimp.paper.numbers import paper
from stepimp.paper.rows import hand_crafted
from stepimp.plots import kl, loss, style
from stepimp.plots.bars import PAPER_LABEL
from stepimp.plots.figures import BUILDS, draw

DOCUMENTS = by_need()
# figure: (light model, table of the paper)
COMPARISONS = {
    "figure1": ("4b", "table5_unconditional_entropy"),
    "figure7": ("6b", None),
    "figure8": ("8b", None),
    "figure9": ("10b", None),
    "figure11": ("4b", "table4_lm1b"),
    "figure13": ("4b", "table3_prefix_256"),
    "figure14": ("4b", "table6_prefix_128"),
}
SEGMENTS = [
    "(L8)",
    "(L2, H6)",
    "(H2, L2, H4)",
    "(H4, L2, H2)",
    "(H6, L2)",
    "(L1, H6, L1)",
    "(H8)",
]


def test_each_figure_is_drawn_and_titled():
    untitled, undrawn = BUILDS.keys() - DRAWN.keys(), DRAWN.keys() - BUILDS.keys()
    assert not untitled, "give them a title and a need in EXTRAS of stepimp/paper/contents.py"
    assert not undrawn, "give them a function in BUILDS of a file such as plots/costs.py"


def test_what_cannot_be_drawn():
    with pytest.raises(StepimpError, match="No figure 'figur5': choose one of figure1,.*'figure5'"):
        draw("figur5", DOCUMENTS["kl"])
    with pytest.raises(StepimpError, match="figure5 is drawn from a document of curves or kl, not"):
        draw("figure5", DOCUMENTS["recommend"])


def axes(name, document=None):
    return draw(name, document or DOCUMENTS[DRAWN[name].need]).axes


@pytest.mark.parametrize("name", COMPARISONS)
def test_figures_of_schedules_show_gen_ppl_with_its_interval(name):
    light, _ = COMPARISONS[name]
    document = DOCUMENTS[FIGURES[name].need]
    rows = hand_crafted(document, light).values()
    tint = {model: to_hex(colour) for model, colour in style.colours(document).items()}
    left, _ = axes(name)
    assert left.get_xlabel() == "gen-PPL" and left.get_xlim()[0] == 0
    assert bars_of(left) == [
        (label, row["gen_ppl"], tint[row["light"] or "12b"]) for label, row in zip(SEGMENTS, rows)
    ]
    assert intervals_of(left) == [
        (k, pytest.approx(row["gen_ppl_low"]), pytest.approx(row["gen_ppl_high"]))
        for k, row in enumerate(rows)
    ]
    assert left.get_ylim()[0] > left.get_ylim()[1], "the first is on top"


@pytest.mark.parametrize("name", COMPARISONS)
def test_beside_it_is_the_paired_change_and_what_the_paper_printed(name):
    light, table = COMPARISONS[name]
    rows = list(hand_crafted(DOCUMENTS[FIGURES[name].need], light).values())
    _, right = axes(name)
    assert right.get_xlabel() == "change in log-PPL (nats per token)"
    points = [line.get_xdata()[0] for line in right.lines if line.get_label() == "stepimp"]
    assert points == [row["log_ppl_diff"] for row in rows]
    printed = [
        (round(line.get_ydata()[0] - 0.2), line.get_xdata()[0])
        for line in right.lines
        if line.get_label() == PAPER_LABEL
    ]
    if table:
        published = paper()[table]["rows"]
        expected = [math.log(row["gen_ppl"] / published[-1]["gen_ppl"]) for row in published]
        assert printed == [(k, pytest.approx(change)) for k, change in enumerate(expected)]
        column = [text.get_text() for text in right.texts]
        assert column[0] == f"{published[0]['gen_ppl']:.1f} ±{published[0]['ci']:.1f}"
    else:  # the paper prints the sandwich of this size alone, in its Table 1
        (size,) = (row for row in paper()["table1_light_size"]["rows"] if row["light"] == light)
        assert printed == [
            (5, pytest.approx(math.log(size["gen_ppl"] / 42.85))),
            (6, 0),
        ]
    assert "other models, on other text and by another judge" in words_of(right.figure)


def test_the_published_interval_is_what_the_printed_ones_make():
    _, right = axes("figure1")
    reach = [ends for row, *ends in intervals_of(right) if row == 0][1]
    half = math.hypot(0.62 / 53.4, 0.47 / 42.9)
    change = math.log(53.4 / 42.9)
    assert reach == pytest.approx([change - half, change + half])


def test_a_missing_interval_leaves_the_bar():
    document = comparison()
    for row in document["rows"]:
        row |= dict.fromkeys(name for name in row if name.endswith(("_low", "_high")))
    left, _ = axes("figure1", document)
    assert len(bars_of(left)) == 7 and not intervals_of(left)


def test_figure2_has_the_best_left_and_the_worst_right_with_light_segments_red():
    rows = DOCUMENTS["search"]["rows"]
    best, worst = axes("figure2")
    best.figure.draw_without_rendering()  # maps values to colours
    assert best.get_subplotspec().colspan.start < worst.get_subplotspec().colspan.start
    for ax, shown in ((best, rows[:5]), (worst, rows[-5:])):
        assert [text.get_text() for text in ax.get_yticklabels()] == [
            str(row["rank"]) for row in shown
        ]
        red = [
            to_hex(colour) == style.LIGHT_SEGMENT for colour in ax.collections[0].get_facecolors()
        ]
        assert red == [letter == "L" for row in shown for letter in row["segments"]]
        assert [text.get_text() for text in ax.get_xticklabels()] == list("012345")


@pytest.mark.parametrize(
    ("name", "column"), [("figure3", "light_in_top"), ("figure10", "light_in_bottom")]
)
def test_figures_3_and_10_count_light_segments_at_one_end_of_the_ranking(name, column):
    rows = light_rows(DOCUMENTS["search"], column)
    (ax,) = axes(name)
    assert bars_of(ax, False) == [
        (str(k), row[column], style.LIGHT_SEGMENT) for k, row in enumerate(rows)
    ]
    assert intervals_of(ax, False) == [
        (k, pytest.approx(row[f"{column}_low"]), pytest.approx(row[f"{column}_high"]))
        for k, row in enumerate(rows)
    ]
    assert list(ax.lines[-1].get_ydata()) == pytest.approx([2 / 6] * 2), "by chance"
    assert ax.get_ylim() == (0, 1)


def test_figure4_shows_the_absolute_loss_difference_and_beside_it_the_signed_one():
    for ax, column in zip(axes("figure4"), loss.PANELS, strict=True):
        rows = DOCUMENTS["loss"]["rows"]
        assert ax.lines[0].get_ydata() == pytest.approx([row[column] for row in rows])
        assert ax.get_xlim() == (1, 0) and "nats" in ax.get_ylabel()
    assert loss.PANELS[next(iter(loss.PANELS))][0] == "Absolute difference"


@pytest.mark.parametrize(("name", "need"), [("figure5", "kl"), ("figure12", "kl_lm1b")])
def test_figures_5_and_12_show_the_relative_kl_of_their_families(name, need):
    document = DOCUMENTS[need]
    relative, parts = axes(name)
    for line, column in zip([*relative.lines, *parts.lines], ("relative_kl_nats", *kl.TITLES)):
        assert line.get_ydata() == pytest.approx([row[column] for row in document["rows"]])
    assert relative.get_title("left") == "Relative KL" and relative.get_xlim() == (1, 0)
    labels = [text.get_text() for text in relative.figure.legends[0].texts]
    assert labels == ["4b", "two seeds of the heavy model"]
    family = "code" if need == "kl_lm1b" else "docs"
    assert f"Family {family}, heavy 12b, light 4b, other seed 12b_seed2" in words_of(
        relative.figure
    )


def test_without_a_second_seed_the_raw_kl_is_shown_and_said():
    document = curves("kl", baseline=None, rows=curve_rows(["kl_nats"]))
    (ax,) = axes("figure5", document)
    assert ax.get_title("left") == "KL(heavy || light)"
    assert "No second seed of the heavy model was measured" in words_of(ax.figure)


def test_figure6_shows_the_influence_of_each_segment():
    rows = DOCUMENTS["search"]["influence"]
    (ax,) = axes("figure6")
    assert bars_of(ax, False) == [
        (str(k), row["influence_ppl"], style.LIGHT_SEGMENT) for k, row in enumerate(rows)
    ]
    assert intervals_of(ax, False) == [
        (k, row["influence_ppl_low"], row["influence_ppl_high"]) for k, row in enumerate(rows)
    ]
    assert "influence" in ax.get_ylabel() and list(ax.lines[-1].get_ydata()) == [0, 0]


FACTS = {
    "figure2": {"shown": 5, "ranked": 15},
    "figure3": {"extremes": 5, "ranked": 15},
    "figure6": {"ranked": 15},
    "figure10": {"extremes": 5, "ranked": 15},
} | {
    name: {"light": int(light.removesuffix("b")), "heavy": 12}
    for name, (light, _) in COMPARISONS.items()
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_has_its_title(name):
    words = words_of(axes(name)[0].figure)
    assert words.startswith(title(name, **FACTS.get(name, {})))


def test_fractions_have_quality_and_savings():
    rows = fractions()["rows"]
    quality, savings = axes("fractions")
    assert [bar[:2] for bar in bars_of(quality)] == [
        (f"{percent}%", row["gen_ppl"]) for percent, row in zip((0, 25, 50, 75, 100), rows)
    ]
    measured = {line.get_label(): line for line in savings.lines}["seconds, measured"]
    expected = [[x, x / 3] for x in (0, 0.25, 0.5, 0.75, 1)]
    assert measured.get_xydata() == pytest.approx(np.array(expected))


def test_seconds_that_were_not_measured_in_one_run_leave_a_gap():
    document = fractions()
    document["rows"][1] |= dict.fromkeys(
        ("saved_seconds", "saved_seconds_low", "saved_seconds_high")
    )
    lines = {line.get_label(): line for line in axes("fractions", document)[1].lines}
    gaps = np.isnan(lines["seconds, measured"].get_ydata())
    assert gaps.tolist() == [False, True, False, False, False]


def test_entropy_has_its_values_and_changes():
    document = comparison(entropy={"sandwich": -0.04})
    left, right = axes("entropy", document)
    assert [value for _, value, _ in bars_of(left)] == [
        row["entropy_nats"] for row in document["rows"]
    ]
    points = [line.get_xdata()[0] for line in right.lines if line.get_label() == "stepimp"]
    assert points[5] == pytest.approx(-0.04, abs=0.002) and "entropy" in right.get_xlabel()
    printed = [line.get_xdata()[0] for line in right.lines if line.get_label() == PAPER_LABEL]
    assert printed == pytest.approx([-0.02, -0.01, 0.01, 0, 0, -0.02, 0])


def test_predictions_have_the_rank_correlation():
    (ax,) = axes("predicted")
    assert ax.get_title("left") == "Spearman 0.90 [0.80, 0.95]"
    assert len(ax.collections[1].get_offsets()) == len(DOCUMENTS["search"]["rows"])


def test_predictions_say_how_well_they_do_without_samples():
    row = {"predicted_by": "predicted_nelbo_nats", "sequences": 500}
    row |= Estimate(0.97, 0.94, 0.99).columns("spearman")
    figure = draw("predicted", DOCUMENTS["search"] | {"held_out": [row]})
    note = figure.get_supxlabel().replace("\n", " ").replace("\xa0", " ")
    assert "as that on the other 500 does, Spearman 0.97 [0.94, 0.99]." in note


def test_a_comparison_without_its_size_is_no_figure_of_that_size():
    with pytest.raises(LookupError):
        draw("figure8", comparison())
    assert draw("figure8", sizes())


def test_the_profile_stacks_its_parts_and_keeps_to_the_sandwiches():
    breakdown, savings = axes("profile")
    assert [label.get_text() for label in breakdown.get_yticklabels()][0] == "12b, stepimp"
    bars = {(round(bar.get_y(), 2), round(bar.get_x(), 2)): bar for bar in breakdown.patches}
    assert len(bars) == 16 and sum(bar.get_width() for bar in bars.values()) == pytest.approx(4)
    lines = {line.get_label(): line for line in savings.lines}
    assert list(lines["seconds, measured"].get_xdata()) == [0, 0.5, 1], "the sandwiches alone"
    assert max(lines["paper: seconds"].get_ydata()) == pytest.approx(0.283)
