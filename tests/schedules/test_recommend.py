"""Recommendations from curves whose shape is chosen."""

import math

import numpy as np
import pytest
from brute_force import every_schedule
from by_hand import hill, measured_curves

from stepimp.curves import measure
from stepimp.curves.measurements import Measurements
from stepimp.errors import StepimpError
from stepimp.schedules import costs, recommend
from stepimp.schedules.schedule import parse

BLOCKS = {"heavy": 4, "a": 1, "b": 2}


def advise(heights=None, budget=0.25, **options):
    heights = heights or {"a": hill}
    return recommend.recommend(
        measured_curves(heights, n=30, points=20),
        {m: BLOCKS[m] for m in ("heavy", *heights)},
        budget,
        **{"steps": 100} | options,
    )


def test_a_peak_in_the_middle_gives_the_sandwich():
    rows = advise()["rows"]
    same_budget = [row["name"] for row in rows if row["light_fraction"] == pytest.approx(0.25)]
    assert same_budget[:2] == ["recommended", "sandwich"]
    assert [row["rank"] for row in rows] == list(range(1, 9))
    light, heavy, last = parse(rows[0]["schedule"], "heavy", "a").segments
    assert heavy == ("heavy", 75) and abs(light[1] - last[1]) <= 2


def random_measurements(draw, lights) -> Measurements:
    """Curves of random numbers, half of the time of few different ones, so that many schedules cost
    the same.
    """
    points, shape = int(draw.integers(1, 6)), (3, 1)
    masked = draw.integers(1, 5, size=(points, *shape)).astype(float)
    ties = draw.random() < 0.5

    def sums():
        means = draw.integers(0, 3, (points, 1, 1)) if ties else draw.random((points, *shape))
        return means * masked

    ce, kl = ({m: sums() for m in ("heavy", "seed2", *lights)} for _ in range(2))
    del kl["heavy"]
    times = np.arange(1, points + 1) / points
    return Measurements("heavy", lights, "seed2", 9, times, masked, ce, kl, sums())


@pytest.mark.parametrize("seed", range(40))
def test_no_schedule_within_the_limits_is_cheaper(seed):
    """All schedules of 1 to 6 steps of two or three models, costed by plain loops; budgets of
    nothing, all, and what no whole number of steps is.
    """
    draw = np.random.default_rng(seed)
    lights, steps = [("a",), ("a", "b")][seed % 2], int(draw.integers(1, 7))
    measurements, save_flops = random_measurements(draw, lights), draw.random() < 0.5
    blocks = dict(zip(("heavy", *lights), (12, *draw.choice([3, 4, 6, 8], 2, replace=False))))
    saved = {m: 1 - blocks[m] / 12 if save_flops else float(m != "heavy") for m in blocks}
    budget = float(draw.choice([0.0, 1.0, draw.random()])) * max(saved.values())
    segments = int(draw.integers(1, 5))
    by_time = {"heavy": np.zeros(len(measurements.times))} | {
        m: (measurements.kl[m] - measurements.kl["seed2"]).sum((1, 2))
        / measurements.masked.sum((1, 2))
        for m in lights
    }

    def cost(choice) -> float:
        return np.mean(
            [np.interp(1 - k / steps, measurements.times, by_time[m]) for k, m in enumerate(choice)]
        )

    def meets(choice) -> bool:
        total = sum(saved[m] for m in choice)
        return total >= budget * steps - 1e-9 if save_flops else total == round(budget * steps)

    costs = [cost(choice) for choice in every_schedule(blocks, steps, segments) if meets(choice)]
    options = {"steps": steps, "segments": segments, "save_flops": save_flops}
    if not costs:  # a part of the steps, in one segment
        with pytest.raises(StepimpError, match="cannot be met"):
            recommend.recommend(measurements, blocks, budget, **options)
        return
    row = recommend.recommend(measurements, blocks, budget, **options)["rows"][0]
    schedule = parse(row["schedule"], "heavy", "a")
    assert meets(schedule.by_step()) and len(schedule.segments) <= segments
    assert row["objective"] == pytest.approx(min(costs), abs=1e-9)
    assert cost(schedule.by_step()[::-1]) == pytest.approx(min(costs), abs=1e-9)


def test_the_light_fraction_is_met_exactly_and_saved_flops_at_least():
    assert advise(budget=0.37)["rows"][0]["light_fraction"] == pytest.approx(0.37)
    row = advise({"a": hill, "b": np.square}, budget=0.3, save_flops=True, segments=5)["rows"][0]
    assert row["saved_flops"] + 1e-9 >= 0.3 and row["saved_flops"] < 0.31
    count = dict.fromkeys(BLOCKS, 0)
    for model, steps in parse(row["schedule"], "heavy").segments:
        count[model] += steps
    assert row["saved_flops"] == pytest.approx(
        1 - sum(BLOCKS[m] * n for m, n in count.items()) / 400
    )


def test_the_sandwich_beside_it_saves_as_much():
    advice = advise({"a": hill, "b": np.square}, budget=0.3, save_flops=True, segments=5)
    saved = {row["name"]: row["saved_flops"] for row in advice["rows"]}
    assert 0 <= saved["sandwich"] - saved["recommended"] < 0.0076  # a step of the shallowest


def test_segments_and_their_length_are_limits():
    assert len(parse(advise(segments=2)["rows"][0]["schedule"], "heavy", "a").segments) <= 2
    segments = parse(advise(shortest=20)["rows"][0]["schedule"], "heavy", "a").segments
    assert min(count for _, count in segments) >= 20


@pytest.mark.parametrize("budget", [0.0, 1.0])
def test_the_ends_of_the_budget(budget):
    advice = advise(budget=budget)
    assert advice["rows"][0]["schedule"] == ("H100", "L100")[int(budget)]
    assert advice["boundaries"]["moves"] == []


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"segments": 1},
            "budget of 0.25 cannot be met within the limits; the nearest that can: 0, 1",
        ),
        (
            {"budget": 0.9, "save_flops": True},
            "budget of 0.9 cannot be met within the limits; the nearest that can: 0.75, 0.75",
        ),
        ({"by": "squares"}, "Unknown objective 'squares': choose one of kl, loss, nelbo"),
        ({"shortest": 101}, "Segments of at least 101 steps do not fit into T = 100"),
        (
            {"shortest": 30},
            "budget of 0.25 cannot be met within the limits; the nearest that can: 0, 0.3",
        ),
    ],
)
def test_a_budget_out_of_reach_names_the_nearest(options, message):
    with pytest.raises(StepimpError, match=message):
        advise(**options)


def test_no_light_model_is_shallower():
    with pytest.raises(StepimpError, match="No light model is shallower than heavy"):
        recommend.recommend(
            measured_curves({"a": hill}), {"heavy": 4, "a": 4}, 0.25, save_flops=True, steps=10
        )


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_very_few_steps(steps):
    advice = advise(budget=1 / steps, steps=steps)
    assert advice["rows"][0]["light_fraction"] == pytest.approx(1 / steps)
    assert len(advice["tradeoff"]) == steps + 1


def test_the_tradeoff_goes_from_nothing_to_all_and_holds_the_recommendation():
    advice = advise()
    tradeoff = advice["tradeoff"]
    assert len(tradeoff) == 41 and [tradeoff[0]["schedule"], tradeoff[-1]["schedule"]] == [
        "H100",
        "L100",
    ]
    assert [row["light_fraction"] for row in tradeoff] == pytest.approx(
        np.linspace(0, 1, 41), abs=0.0051
    )
    at_budget = next(row for row in tradeoff if row["light_fraction"] == pytest.approx(0.25))
    same = ("schedule", "objective", "objective_low", "path_kl_nats", "nelbo_nats_high")
    assert [at_budget[name] for name in same] == [advice["rows"][0][name] for name in same]
    objectives = {row["light_fraction"]: row["objective"] for row in tradeoff}
    for row in advice["rows"]:  # nothing lies below the trade-off
        assert (
            row["objective"]
            >= np.interp(row["light_fraction"], list(objectives), list(objectives.values())) - 1e-12
        )


def test_boundaries_that_the_sequences_do_not_determine_move_far():
    """A peak of one height in all sequences against one whose place differs from sequence to
    sequence.
    """
    times, draw = measure.time_grid(20), np.random.default_rng(0)
    masked = np.full((20, 12, 1), 5.0)
    ranges = {}
    for name, spread in (("sure", 0.0), ("unsure", 0.3)):
        place = 0.5 + spread * draw.uniform(-1, 1, size=12)
        kl = masked * np.exp(-(((times[:, None] - place) / 0.1) ** 2))[..., None]
        measurements = Measurements(
            "heavy",
            ("a",),
            None,
            10,
            times,
            masked,
            {"heavy": masked, "a": masked + kl},
            {"a": kl},
            masked,
        )
        moved = recommend.recommend(measurements, {"heavy": 4, "a": 1}, 0.6, steps=1000)[
            "boundaries"
        ]
        assert [(move["before"], move["after"]) for move in moved["moves"]] == [
            ("a", "heavy"),
            ("heavy", "a"),
        ]
        assert all(
            move["t_low"] - 0.006 <= move["t"] <= move["t_high"] + 0.006 for move in moved["moves"]
        )
        ranges[name] = max(move["t_high"] - move["t_low"] for move in moved["moves"])
        assert 0.5 < moved["agreement"] <= 1
    assert ranges["sure"] <= 0.02 < 0.06 < ranges["unsure"]


def test_boundaries_lie_where_the_segments_meet():
    assert recommend.boundary_times(parse("L10,H60,L30", "heavy", "a")) == pytest.approx([0.9, 0.3])


def test_boundaries_no_resample_agrees_with_have_no_range():
    measurements = measured_curves({"a": hill}, n=30)
    means = costs.mean_curves(measurements, "kl", 0)
    odd = parse("H30,L10,H60", "heavy", "a")
    moved = recommend.boundaries(odd, means, measurements.times, {"heavy": 0, "a": 1}, 10, 3, 1)
    assert moved["agreement"] == 0 and all(math.isnan(move["t_low"]) for move in moved["moves"])


def test_a_time_at_which_nothing_is_masked_is_named_before_anything_is_optimised():
    zero = np.zeros((1, 3, 1))
    measurements = Measurements(
        "heavy",
        ("a",),
        None,
        8,
        np.array([1.0]),
        zero,
        {"heavy": zero, "a": zero},
        {"a": zero},
        zero,
    )
    with pytest.raises(StepimpError, match="no sequence has a masked token"):
        recommend.recommend(measurements, {"heavy": 4, "a": 1}, 0.25, steps=10, by="loss")


def test_several_light_models_are_written_by_name_and_one_by_letter():
    two = advise({"a": hill, "b": np.square}, save_flops=True)["rows"]
    assert all(set(row["schedule"]).isdisjoint("HL") for row in two)
    assert all(set(row["schedule"]) <= set("HL,0123456789") for row in advise()["rows"])


def document(lights=("a", "b")):
    """A curves document, but for its rows."""
    return {
        "measurements": measured_curves(dict.fromkeys(lights, hill)).pack(),
        "params": {"seed": 0, "lights": list(lights)},
        "blocks": BLOCKS,
        "path": "curves-0.json",
    }


def test_a_light_model_without_a_curve_is_refused():
    with pytest.raises(StepimpError, match="curves-0.json has no curve of 'b', only of a"):
        recommend.scheduled_lights(document(["a"]), ["b"], save_flops=False)


@pytest.mark.parametrize(
    "named, save_flops, expected",
    [([], False, ["a"]), ([], True, ["b", "a"]), (["b", "b"], False, ["b"])],
)
def test_without_names_the_shallowest_is_scheduled_and_all_for_saved_flops(
    named, save_flops, expected
):
    assert recommend.scheduled_lights(document(["b", "a"]), named, save_flops) == expected


def test_a_recommendation_holds_the_curves_it_read():
    advice = recommend.recommend_from(document(), ["a"], 0.25, steps=20)
    assert {row["model"] for row in advice["curves"]} == {"a"}
    assert advice["curves"][0].keys() >= {"kl_nats_low", "loss_abs_diff_nats", "sequences"}


@pytest.mark.parametrize("lows, resolved", [([-1, 0.1], True), ([-1, -1], False), ([None], True)])
def test_the_relative_kl_is_resolved_where_one_band_lies_above_0(lows, resolved):
    rows = [{"model": "a", "relative_kl_nats_low": low} for low in lows]
    other = {"model": "b", "relative_kl_nats_low": 1.0}
    assert recommend.kl_is_resolved([*rows, other], ["a"]) == resolved


def test_the_schedules_that_are_verified():
    rows = advise()["rows"]
    names = [row["name"] for row in recommend.schedules_to_verify(rows)]
    quarters = {row["name"]: row["objective"] for row in rows if "quarter" in row["name"]}
    assert sorted(names) == sorted(
        ["recommended", "sandwich", "all-heavy", max(quarters, key=quarters.get)]
    )
