import pytest

from stepimp.errors import StepimpError
from stepimp.schedules import over_masked, plan
from stepimp.schedules.schedule import (
    Schedule,
    hand_crafted,
    light_window,
    parse,
    quarters,
    sandwich,
    saved_flops,
)

BLOCKS = {f"{depth}b": depth for depth in (4, 6, 8, 10, 12)}


@pytest.mark.parametrize("text", ["L125,H750,L125", "H1000", "L1", "H250,L250,H500"])
def test_letters_round_trip(text):
    assert parse(text, "12b", "4b").format("12b", "4b") == text


@pytest.mark.parametrize("text", ["4b:100,8b:100,12b:600,4b:200", "org/name-1.5:3", "12b:7"])
def test_names_round_trip(text):
    assert parse(text, "heavy").format() == text


def test_letters_stand_for_the_models_given():
    assert (
        parse("L2,H3", "12b", "4b")
        == parse("4b:2, 12b:3", "12b", "4b")
        == Schedule((("4b", 2), ("12b", 3)))
    )


def test_neighbours_of_one_model_are_one_segment():
    assert parse("L2,4b:3,H1,H1", "12b", "4b").segments == (("4b", 5), ("12b", 2))


def test_names_are_written_where_letters_do_not_cover_the_schedule():
    assert parse("8b:1,H2,L1", "12b", "4b").format("12b", "4b") == "8b:1,12b:2,4b:1"


MISTAKES = {
    "nothing": ("", "cannot read ''.*L125,H750,L125"),
    "an unknown letter": ("X10", "cannot read 'X10'"),
    "no count": ("H", "cannot read 'H'"),
    "a negative count": ("H-5", "cannot read 'H-5'"),
    "a fraction": ("H1.5", "cannot read 'H1.5'"),
    "a dangling comma": ("H5,", "cannot read ''"),
    "an empty segment": ("H5,L0", "segment 'L0' has no steps; leave it out"),
    "a sum that is not T": ("L2,H7", "sums to 9 steps, not to T = 10: change one of them"),
    "steps beyond any use": ("H999999999999", "has 999,999,999,999 steps; the most is 1,000,000"),
}


@pytest.mark.parametrize("text, message", MISTAKES.values(), ids=MISTAKES)
def test_a_schedule_with(text, message):
    with pytest.raises(StepimpError, match=message):
        parse(text, "12b", "4b", steps=10)


def test_light_steps_without_a_light_model():
    with pytest.raises(StepimpError, match="says L, but no light model is given"):
        parse("L2,H8", "12b")


def test_steps_count_down_from_the_start_of_sampling():
    schedule = parse("L1,H3,8b:2", "12b", "4b")
    assert schedule.by_step() == [
        "8b",
        "8b",
        "12b",
        "12b",
        "12b",
        "4b",
    ]  # step 1 first, step T = 6 last
    assert Schedule.of(reversed(schedule.by_step())) == schedule
    assert (schedule.steps, schedule.models) == (6, ("4b", "12b", "8b"))
    assert schedule.fraction("12b") == 0.5 and schedule.fraction("6b") == 0


@pytest.mark.parametrize(
    "light_steps, text", [(0, "H10"), (4, "L2,H6,L2"), (5, "L3,H5,L2"), (1, "L1,H9"), (10, "L10")]
)
def test_a_sandwich_is_light_at_both_ends(light_steps, text):
    assert sandwich(10, light_steps, "h", "l") == parse(text, "h", "l")


def test_quarters_are_light_in_one_quarter_each():
    texts = ["L250,H750", "H250,L250,H500", "H500,L250,H250", "H750,L250"]
    assert quarters(1000, "h", "l") == [parse(text, "h", "l") for text in texts]


def test_the_hand_crafted_schedules_of_the_paper():
    texts = {
        "sandwich": "L125,H750,L125",
        "1st quarter": "L250,H750",
        "2nd quarter": "H250,L250,H500",
        "3rd quarter": "H500,L250,H250",
        "4th quarter": "H750,L250",
        "all-heavy": "H1000",
        "all-light": "L1000",
    }
    crafted = hand_crafted(1000, 250, "h", "l")
    assert {name: one.format("h", "l") for name, one in crafted.items()} == texts
    for light_steps in (0, 1000):
        assert "sandwich" not in hand_crafted(1000, light_steps, "h", "l")


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 7, 10])
def test_quarters_cover_each_step_once(steps):
    light = [[model == "l" for model in one.by_step()] for one in quarters(steps, "h", "l")]
    assert [sum(column) for column in zip(*light)] == [1] * steps


def test_a_window_counts_from_the_start_of_sampling():
    assert light_window(10, 2, 5, "h", "l") == parse("H2,L3,H5", "h", "l")


@pytest.mark.parametrize(
    "light, percent", [("4b", 16.67), ("6b", 12.5), ("8b", 8.33), ("10b", 4.17), ("12b", 0.0)]
)
def test_saved_flops_are_those_of_the_papers_table_1(light, percent):
    schedule = parse("L125,H750,L125", "12b", light)
    assert 100 * saved_flops(schedule, BLOCKS, "12b") == pytest.approx(percent, abs=0.005)


@pytest.mark.parametrize(
    "light_percent, percent", [(0, 0.0), (10, 6.7), (40, 26.7), (70, 46.7), (100, 66.7)]
)
def test_saved_flops_are_those_of_the_papers_table_2(light_percent, percent):
    schedule = sandwich(1000, 10 * light_percent, "12b", "4b")
    assert 100 * saved_flops(schedule, BLOCKS, "12b") == pytest.approx(percent, abs=0.05)
    p = schedule.fraction("4b")
    assert saved_flops(schedule, BLOCKS, "12b") == pytest.approx(p * (12 - 4) / 12)


def test_saved_flops_of_several_models_are_a_mean_over_steps():
    schedule = parse("4b:1,8b:2,12b:7", "12b")
    assert saved_flops(schedule, BLOCKS, "12b") == pytest.approx(1 - (4 + 8 * 2 + 12 * 7) / 10 / 12)


def test_parts_are_joined_where_neighbours_run_the_same_model():
    parts = [("h", 0), ("h", 2), ("l", 0), ("h", 3), ("l", 1), ("h", 0)]
    models = [model for model, count in parts for _ in range(count)]
    assert Schedule.joined(parts) == Schedule.of(models) == parse("H5,L1", "h", "l")


@pytest.mark.parametrize("read", [parse, over_masked.parse, plan.parse])
@pytest.mark.parametrize("given", [None, 5, ["L5"], Schedule((("1b", 5),))])
def test_what_is_not_text_is_no_notation(read, given):
    with pytest.raises(StepimpError, match="is not the notation of a schedule: write one"):
        read(given, "12b", "4b")
