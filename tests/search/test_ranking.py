"""The ranking, the influence of segments and what the curves predicted, by hand."""

import numpy as np
import pytest
from by_hand import measured_curves
from scipy import stats

from stepimp.intervals import Estimate
from stepimp.search import ranking
from stepimp.search.coarse import Coarse

TOY = Coarse("h", "l", 30, segments=3, light_segments=2)  # HLL, LHL, LLH
THREE_STEPS = Coarse("heavy", "a", 3, segments=3, light_segments=1)
TOY_PPL = np.array([[10.0, 20.0], [10.0, 30.0], [40.0, 50.0]])  # means 15, 20, 45; of all 80/3
TOY_ENTROPY = np.array([[1.0, 2.0], [1.0, 3.0], [2.0, 2.0]])
TOY_PREDICTED = [
    Estimate(value).columns("predicted_path_kl_nats")
    | Estimate(-value).columns("predicted_nelbo_nats")
    for value in (0.2, 0.1, 0.3)
]


def toy(ppl=TOY_PPL, entropy=TOY_ENTROPY):
    return ranking.results(TOY, np.log(ppl), entropy, TOY_PREDICTED, seed=0)


def test_influence_is_formula_8_by_hand():
    rows = toy()["influence"]
    assert [row["segment"] for row in rows] == [1, 2, 3]
    by_hand = [(20 + 45) / 2 - 80 / 3, (15 + 45) / 2 - 80 / 3, (15 + 20) / 2 - 80 / 3]
    assert [row["influence_ppl"] for row in rows] == pytest.approx(by_hand)
    assert [row["t_from"] for row in rows] == pytest.approx([1, 2 / 3, 1 / 3])
    # A resample has the first sample twice, or the second, or both: the bands' ends are the
    # extremes of those.
    own = [
        [(10 + 40) / 2 - 20, (10 + 40) / 2 - 20, (10 + 10) / 2 - 20],
        [(30 + 50) / 2 - 100 / 3, (20 + 50) / 2 - 100 / 3, (20 + 30) / 2 - 100 / 3],
    ]
    for row, ends in zip(rows, zip(*own)):
        assert (row["influence_ppl_low"], row["influence_ppl_high"]) == pytest.approx(
            (min(ends), max(ends))
        )


def test_rows_are_ranked_and_say_what_they_are_of():
    rows = toy()["rows"]
    assert [(row["rank"], row["segments"], row["schedule"]) for row in rows] == [
        (1, "HLL", "H10,L20"),
        (2, "LHL", "L10,H10,L10"),
        (3, "LLH", "L20,H10"),
    ]
    assert [row["gen_ppl"] for row in rows] == pytest.approx([15, 20, 45])
    assert [row["entropy_nats"] for row in rows] == [1.5, 2, 2] and [
        row["samples"] for row in rows
    ] == [2, 2, 2]
    assert [row["predicted_path_kl_nats"] for row in rows] == [0.2, 0.1, 0.3]
    factor = np.exp(
        stats.t.ppf(0.975, 1) * 5 / 15
    )  # Student's t of 10 and 20, symmetric on the log scale
    assert (rows[0]["gen_ppl_low"], rows[0]["gen_ppl_high"]) == pytest.approx(
        (15 / factor, 15 * factor)
    )


def test_the_schedule_the_curves_choose_and_what_it_loses():
    row, _ = toy()["predictions"]
    assert (row["predicted_by"], row["segments"], row["rank"]) == (
        "predicted_path_kl_nats",
        "LHL",
        2,
    )
    assert row["regret_ppl"] == pytest.approx(5)
    assert (row["regret_ppl_low"], row["regret_ppl_high"]) == pytest.approx((0, 10))
    assert row["spearman"] == pytest.approx(0.5) and row["kendall"] == pytest.approx(1 / 3)


def test_dropped_schedules_come_after_those_that_ran_to_the_end():
    ppl, entropy = TOY_PPL.copy(), TOY_ENTROPY.copy()
    ppl[0, 1] = entropy[0, 1] = np.nan
    ranked = toy(ppl, entropy)
    assert [row["segments"] for row in ranked["rows"]] == ["LHL", "LLH", "HLL"]
    assert [row["samples"] for row in ranked["rows"]] == [2, 2, 1]
    # Influence is of the first sample alone, which all have.
    assert [row["influence_ppl"] for row in ranked["influence"]] == pytest.approx([5, 5, -10])
    assert ranked["log_ppl"]["HLL"] == pytest.approx([np.log(10)])


@pytest.mark.filterwarnings("ignore:An input array is constant")
@pytest.mark.parametrize("decimals", [9, 0])
@pytest.mark.parametrize("n", [3, 30])
def test_rank_correlations_are_scipys(n, decimals):
    """Without ties and with many."""
    draw = np.random.default_rng(0)
    predicted, means = draw.normal(size=(2, n)).round(decimals), draw.normal(size=(n, 4))
    means = means.round(decimals)
    means[0, 1], means[:, 2], predicted[1] = np.nan, 1.0, means[:, 0]
    ranked = ranking.rank_correlations(predicted, means)
    for name, correlation in (("spearman", stats.spearmanr), ("kendall", stats.kendalltau)):
        by_scipy = [[correlation(row, column).statistic for column in means.T] for row in predicted]
        assert ranked[name] == pytest.approx(np.array(by_scipy), nan_ok=True)


def test_how_often_a_segment_is_light_at_both_ends():
    rows = toy()["influence"]
    assert [(row["light_in_top"], row["light_in_bottom"]) for row in rows] == [
        (0, 1),
        (1, 1),
        (1, 0),
    ]
    assert [row["extremes"] for row in rows] == [1, 1, 1]


def held_out(noise: float, sequences: int = 8):
    """The row of predicted NELBO against the other half's, and the measurement of 3 times."""
    measured = measured_curves({"a": lambda t: t * t}, sequences, points=3, noise=noise)
    _, row = ranking.held_out_rows(measured, THREE_STEPS, seed=0)
    return row, measured


def test_the_held_out_nelbo_is_formula_10_on_the_other_half_by_hand():
    row, measured = held_out(noise=1.0)

    def nelbo(name, first):
        """The mean over the three steps, which are at the three measured times."""
        total = 0.0
        for step, letter in enumerate(name):
            time = 2 - step  # sampling begins at the last time
            ce = measured.ce["heavy" if letter == "H" else "a"][time, first::2].sum()
            total += ce / measured.masked[time, first::2].sum()
        return total / 3

    names = THREE_STEPS.names()
    chosen = min(names, key=lambda name: nelbo(name, 0))
    by_nelbo = sorted(names, key=lambda name: nelbo(name, 1))
    assert row["segments"] == chosen and row["sequences"] == 4
    assert row["rank"] == by_nelbo.index(chosen) + 1
    assert row["nelbo_nats"] == pytest.approx(nelbo(chosen, 1))
    assert row["regret_nats"] == pytest.approx(nelbo(chosen, 1) - nelbo(by_nelbo[0], 1))
    rho = stats.spearmanr(*([nelbo(name, half) for name in names] for half in (0, 1)))
    assert row["spearman"] == pytest.approx(rho.statistic)


def test_curves_without_noise_predict_the_other_half_exactly():
    row, _ = held_out(noise=0.0)
    assert row["spearman"] == pytest.approx(1) and row["rank"] == 1
    assert row["regret_nats"] == row["regret_nats_high"] == 0


def test_a_half_without_an_interval_is_left_out():
    measured = measured_curves({"a": lambda t: t}, n=3)
    assert ranking.held_out_rows(measured, THREE_STEPS, seed=0) == []
