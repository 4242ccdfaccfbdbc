"""The figures of plans and of schedules over masked positions."""

from filled import by_need
from read_artists import words_of

from stepimp.plots.figures import draw

DOCUMENTS = by_need()


def points(line):
    return [tuple(point) for point in line.get_xydata().tolist()]


def test_the_frontier_the_fixed_steps_and_the_recommended_plan_are_drawn():
    document, (ax,) = DOCUMENTS["plan"], draw("plan", DOCUMENTS["plan"]).axes
    lines = {line.get_label(): points(line) for line in ax.lines}
    assert lines["best plan"] == [
        (row["heavy_forwards"], row["objective"]) for row in document["frontier"]
    ]
    assert lines["recommended"] == [(2.0, 3.2)]
    for name in ("all-heavy", "all 4b"):
        fixed = [row for row in document["fixed"] if row["name"] == name]
        assert lines[name] == [(row["heavy_forwards"], row["objective"]) for row in fixed]
    assert ax.get_xscale() == "log"
    said = words_of(draw("plan", document))
    assert "1 of 4b, 2 of 12b" in said and "NELBO, from the curves alone" in said


def test_the_trade_off_over_masked_positions_names_its_rival():
    document = DOCUMENTS["masked"]
    figure = draw("masked", document)
    line = points(figure.axes[0].lines[0])
    assert line == [(row["light_fraction"], row["objective"]) for row in document["tradeoff"]]
    said = words_of(figure)
    assert "same expected cost, L3,H7" in said and "L3,H7, -0.0100" in said
