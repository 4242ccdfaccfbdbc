"""What elimination promises, and what it saves."""

import numpy as np
import pytest
import torch
from fakes import FakeDenoiser
from scipy import stats
from searching import SMALL, run

from stepimp.sampling import sampler
from stepimp.search import ranking
from stepimp.search.coarse import segment_runs
from stepimp.search.elimination import Elimination


def survivors(values, elimination, chunk):
    """The schedules that remain of values [S, n], looking after each chunk but the last."""
    running = np.arange(len(values))
    looks = range(chunk, values.shape[1], chunk)
    level = elimination.level(len(values), len(looks))
    for n in looks:
        running = running[elimination.running(values[running, :n], level)]
    return set(running.tolist())


def share_of_wrong_drops(elimination, schedules, trials, skewed, seed=0):
    """How often at least one of the first `top` schedules is dropped, although all are equally
    good.
    """
    draw, wrong = np.random.default_rng(seed), 0
    for _ in range(trials):
        values = draw.normal(size=(schedules, 60)) + draw.normal(size=60)
        wrong += not set(range(elimination.top)) <= survivors(
            np.exp(values) if skewed else values, elimination, 20
        )
    return wrong / trials


@pytest.mark.parametrize("top, schedules", [(1, 2), (1, 6), (2, 6)])
@pytest.mark.parametrize("skewed", [False, True])
def test_one_of_the_best_is_dropped_at_most_as_often_as_promised(top, schedules, skewed):
    trials, allowed = 600, 0.2
    wrong = share_of_wrong_drops(Elimination(top, 1 - allowed), schedules, trials, skewed)
    assert stats.binomtest(round(wrong * trials), trials, allowed, "greater").pvalue > 1e-3


def test_the_bound_is_nearly_reached_where_it_can_be():
    """Two equal schedules: without a share for each look there would be too many errors, and this
    would see it.
    """
    assert share_of_wrong_drops(Elimination(1, 0.8), 2, 600, skewed=False) > 0.08


def test_it_finds_the_best_and_drops_the_rest():
    draw = np.random.default_rng(0)
    values = np.arange(8)[:, None] + draw.normal(size=40) + 0.3 * draw.normal(size=(8, 40))
    assert survivors(values, Elimination(2, 0.95), 10) == {0, 1}


def test_equal_schedules_stay():
    assert Elimination(1, 0.95).running(np.ones((4, 10)), 0.01).all()
    assert (
        Elimination(1, 0.95).running(np.array([[1.0], [2.0]]), 0.01).all()
    )  # one sample says nothing


class Clear(FakeDenoiser):
    """Draws its own token only, whatever it sees: one schedule's text is better than another's by
    design.
    """

    def __init__(self, token):
        super().__init__(length=6)
        self.table = torch.full_like(self.table, -50.0)
        self.table[..., token] = 0.0


def test_only_the_subtrees_that_survive_run():
    """Light tokens make the text worse, and the second segment holds most events: schedules light
    there go.
    """
    models = {"h": Clear(2), "l": Clear(0)}
    counts, eliminated_counts = sampler.Counts(), sampler.Counts()
    whole, entropy = run(models, samples=100, chunk=10, counts=counts)
    left, left_entropy = run(
        models, samples=100, chunk=10, elimination=Elimination(1, 0.9), counts=eliminated_counts
    )
    drawn = np.isfinite(left).sum(1)
    assert 1 <= (drawn == 100).sum() < 10 and drawn.min() < 200 and (drawn % 10 == 0).all()
    assert np.array_equal(left[np.isfinite(left)], whole[np.isfinite(left)])
    rounds = ranking.elimination_rounds(SMALL, left_entropy, 10)
    assert [round_row["schedules"] for round_row in rounds["rounds"]] == [
        (drawn > start).sum() for start in range(0, 100, 10)
    ]
    assert rounds["rounds"][0]["segment_runs"] == segment_runs(SMALL.names())
    saved = 1 - eliminated_counts.forwards.total() / counts.forwards.total()
    assert saved == pytest.approx(rounds["saved"], abs=0.05) and saved > 0.05
