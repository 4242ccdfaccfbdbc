"""What is resolved, and how many samples would resolve the rest, on effects that are chosen."""

import numpy as np
import pytest
from by_hand import AS_PUBLISHED, comparison, fractions, search, sizes
from filled import by_need

from stepimp.intervals import Estimate, ratio
from stepimp.paper.describe import reference_folder
from stepimp.paper.resolution import MOST, Effect, all_light, effects, trend


def effect(value, half, count=80, need="unconditional", seconds=10.0):
    estimate = Estimate(value, value - half, value + half)
    return Effect("Figure 1", "all-light", need, estimate, count, seconds)


def test_an_interval_that_leaves_out_0_is_resolved_on_either_side():
    assert effect(0.2, 0.1).resolved and effect(-0.2, 0.1).resolved
    assert not effect(0.1, 0.2).resolved
    assert effect(0.2, 0.1).count_needed == 80


def test_half_the_interval_takes_four_times_the_samples_and_a_margin():
    wide = effect(0.1, 0.2)
    assert wide.count_needed == 384, "80 times 4 times 1.2"
    assert wide.seconds_needed == pytest.approx(10 * (384 - 80) / 80), "80 are kept"
    assert effect(0.1, 0.2, need="search").seconds_needed == pytest.approx(10 * 384 / 80)


def test_as_many_samples_as_predicted_resolve_an_effect_most_times():
    draw, resolved = np.random.default_rng(0), 0
    for _ in range(200):
        needed = effect(0.1, 0.2).count_needed
        spread = 0.2 / 1.96 * np.sqrt(80)
        resolved += ratio(0.1 + spread * draw.standard_normal(needed)).low > 0
    assert 0.5 < resolved / 200 < 0.8, "an effect at the edge of its interval"


def test_what_would_take_far_too_many_samples_is_given_up():
    assert effect(0.001, 0.2).count_needed is None and effect(0.0, 0.2).count_needed is None
    assert effect(1.0, (MOST / 1.2) ** 0.5 * 0.99).count_needed is not None


def test_the_effects_of_a_full_set_of_documents():
    documents = by_need()
    listed = effects(documents)
    assert [one.where for one in listed] == [
        *("Figure 1", "Figure 7", "Figure 8", "Figure 9", "Figure 11", "Figure 13", "Figure 14"),
        *("Table 1", "Table 2", "Figure 4", "Figure 5", "Figure 12", "Figures 2, 3, 6, 10"),
    ]
    by_place = {one.where: one for one in listed}
    assert by_place["Figure 1"].estimate.value == pytest.approx(AS_PUBLISHED["all-light"], abs=0.01)
    assert by_place["Figure 1"].resolved and by_place["Figure 1"].count == 20
    assert by_place["Figure 7"].light == "6b" and by_place["Figure 1"].light is None
    assert by_place["Figure 5"].count == 9 and "t = 0.5" in by_place["Figure 5"].what
    assert not by_place["Figures 2, 3, 6, 10"].resolved, "0.5 ± 1"


def test_the_shipped_run_is_not_measured_here():
    shipped = comparison() | {"path": str(reference_folder() / "compare-0.json")}
    assert effects({"unconditional": shipped, "kl": None}) == []


def test_a_light_size_costs_the_seconds_of_its_own_rows():
    document = sizes()
    seconds = [row["seconds"] for row in document["rows"] if row["light"] in ("8b", None)]
    assert all_light("light_8", document).seconds == pytest.approx(sum(seconds))
    assert all_light("unconditional", document).seconds == pytest.approx(
        sum(row["seconds"] for row in document["rows"])
    )


def test_the_trend_is_the_slope_over_the_fraction_of_light_steps():
    assert trend(fractions()).estimate.value == pytest.approx(0.16, abs=0.01), (
        "0.02 for each eighth"
    )
    assert trend(fractions()).resolved and not trend(fractions(noise=5.0)).resolved


def test_the_widest_pair_of_placements_of_the_shallowest_model_is_listed():
    pairs = [
        {"light": light, "worse_name": worse, "better_name": "sandwich"}
        | Estimate(value, value - 0.05, value + 0.05).columns("log_ppl_diff")
        for light, worse, value in (("4b", "2nd quarter", 0.04), ("8b", "3rd quarter", 0.09))
    ]
    document = sizes() | {"pairs": pairs}
    (placement,) = [one for one in effects({"unconditional": document}) if "pairs" in one.what]
    assert placement.what.startswith("2nd quarter against sandwich") and not placement.resolved


def test_a_search_is_told_by_its_largest_influence():
    (only,) = effects({"search": search([0, 0, 3, 0, 0, 0])})
    assert only.what.startswith("largest influence, of segment 2") and only.resolved
