"""The intervals cover what they say, on values like those of text; Student's t is held against
scipy's own.
"""

import numpy as np
import pytest
from scipy import stats

from stepimp.intervals import Estimate, bands, ratio, resampled_means

DRAWS = 4000  # standard error of a coverage: 0.35%


def coverage(truth, draw, seed=0):
    """Share of the intervals of `draw(rng)` that hold the truth."""
    rng = np.random.default_rng(seed)
    ends = np.array([draw(rng)[1:] for _ in range(DRAWS)])
    return np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1]))


def log_ppl(rng, n, spread):
    return 3 + spread * rng.standard_normal(n)


@pytest.mark.parametrize("n, spread", [(32, 0.2), (32, 0.5), (160, 0.5), (1600, 0.5), (8, 0.2)])
def test_the_mean_perplexity_is_covered(n, spread):
    share = coverage(
        np.exp(3 + spread**2 / 2),
        lambda rng: ratio(np.exp(log_ppl(rng, n, spread)), log_scale=True),
    )
    assert 0.93 <= share <= 0.97


@pytest.mark.parametrize("n", [4, 8, 32, 160])
def test_the_paired_difference_is_covered(n):
    """Two schedules whose samples have much in common; one is worse by a skewed amount."""

    def draw(rng):
        common = log_ppl(rng, n, 0.5)
        worse = common + 0.1 + 0.1 * rng.standard_normal(n) + 0.05 * rng.exponential(size=n)
        return ratio(worse - (common + 0.1 * rng.standard_normal(n)))

    assert 0.93 <= coverage(0.15, draw) <= 0.97


@pytest.mark.parametrize("n", [32, 160])
def test_the_corpus_perplexity_is_covered(n):
    """Long texts weigh more and are likelier here: the interval knows that the weights are random
    as well.
    """

    def draw(rng):
        tokens = rng.integers(60, 120, n)
        return ratio(tokens * (3 - 0.01 * (tokens - 90) + 0.4 * rng.standard_normal(n)), tokens)

    lengths = np.arange(60, 120)
    assert (
        0.93
        <= coverage((lengths * (3 - 0.01 * (lengths - 90))).sum() / lengths.sum(), draw)
        <= 0.97
    )


def test_a_long_tail_narrows_the_interval_of_few_samples_as_the_documentation_says():
    tail = coverage(np.exp(0.5), lambda rng: ratio(np.exp(rng.standard_normal(20)), log_scale=True))
    assert tail == pytest.approx(0.90, abs=0.01)


@pytest.mark.parametrize("sequences, normal, long_tail", [(200, 0.95, 0.93), (20, 0.93, 0.85)])
def test_bands_over_sequences_cover_what_the_documentation_says(sequences, normal, long_tail):
    """500 curves that share their resamples, in each of 20 rounds."""
    rng, shares = np.random.default_rng(0), []
    for seed in range(20):
        values = rng.standard_normal((500, sequences))
        for truth, drawn in ((0, values), (np.exp(0.5), np.exp(values))):
            _, low, high = bands(resampled_means(drawn, seed))
            shares.append(np.mean((low <= truth) & (truth <= high)))
    assert np.mean(shares[::2]) == pytest.approx(normal, abs=0.01)
    assert np.mean(shares[1::2]) == pytest.approx(long_tail, abs=0.01)


def test_a_mean_has_the_t_interval_that_scipy_gives():
    values = np.random.default_rng(1).standard_normal(20)
    low, high = stats.t.interval(0.95, 19, values.mean(), stats.sem(values))
    assert ratio(values) == pytest.approx((values.mean(), low, high), rel=1e-12)


def test_on_the_log_scale_it_is_the_t_interval_of_small_spreads_and_never_reaches_zero():
    values = 5 + 1e-4 * np.random.default_rng(1).standard_normal(20)
    assert ratio(values, log_scale=True) == pytest.approx(ratio(values), rel=1e-8)
    mean, low, high = ratio([1e-3, 1e-3, 9.0], log_scale=True)
    assert 0 < low < mean < high and low * high == pytest.approx(mean**2)


def test_a_ratio_does_not_change_when_all_weights_double():
    values, weights = np.array([3.0, 5.0, 4.0, 8.0]), np.array([1.0, 2.0, 2.0, 3.0])
    assert np.multiply(2, ratio(values, 2 * weights)) == pytest.approx(ratio(values, weights))
    assert ratio(3.5 * weights, weights) == (3.5, 3.5, 3.5)


def test_one_sample_has_no_interval():
    assert ratio([2.0])[0] == 2 and np.isnan(ratio([2.0])[1:]).all()


def test_columns():
    assert Estimate(1, np.float64(0), 2).columns("a") == {"a": 1.0, "a_low": 0.0, "a_high": 2.0}


# ---- bootstrap bands over sequences ----


def test_bands_agree_with_scipys_bootstrap():
    values = np.random.default_rng(1).exponential(size=(1, 80))
    _, low, high = bands(resampled_means(values, 0, resamples=20_000))
    scipys = stats.bootstrap(
        (values[0],), np.mean, n_resamples=20_000, method="percentile", rng=0
    ).confidence_interval
    width = scipys.high - scipys.low
    assert low[0] == pytest.approx(scipys.low, abs=0.03 * width) and high[0] == pytest.approx(
        scipys.high, abs=0.03 * width
    )


def test_bands_cover_the_truth_as_often_as_they_say():
    """2000 data sets of 100 sequences, a tenth of them left out: 95% of the bands hold the mean,
    give or take 1.5%.
    """
    draw = np.random.default_rng(2)
    values = np.where(
        draw.random((2000, 100)) < 0.1, np.nan, draw.normal(3.0, 1.0, size=(2000, 100))
    )
    _, low, high = bands(resampled_means(values, 0))
    assert 0.935 <= ((low <= 3.0) & (high >= 3.0)).mean() <= 0.965


def test_bands_of_weighted_means_cover_the_ratio_of_expectations():
    """Token-weighted: sequences with more masked tokens count more, and have other means."""
    draw = np.random.default_rng(3)
    weights = draw.integers(0, 5, size=(2000, 100)).astype(float)
    values = weights + draw.normal(size=weights.shape)
    truth = np.mean(np.arange(5.0) ** 2) / np.mean(np.arange(5.0))
    point, low, high = bands(resampled_means(values, 0, weights))
    assert point.mean() == pytest.approx(truth, abs=0.02)
    assert 0.93 <= ((low <= truth) & (truth <= high)).mean() <= 0.97


def test_resamples_are_shared_by_all_statistics():
    values = np.random.default_rng(4).normal(size=(1, 30))
    both = resampled_means(np.concatenate([values, values + 2.5]), 0)
    np.testing.assert_allclose(both[1] - both[0], 2.5)
    assert not np.array_equal(resampled_means(values, 0), resampled_means(values, 1))
