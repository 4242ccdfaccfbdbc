"""The tree of schedules against each schedule alone, and kills."""

import random

import numpy as np
import pytest
import torch
from fakes import FakeDenoiser
from searching import SMALL, run, score, two_fakes

from stepimp.errors import StepimpError
from stepimp.journals import Journal
from stepimp.sampling import sampler
from stepimp.search.coarse import Coarse
from stepimp.search.elimination import Elimination
from stepimp.search.exhaustive import search, walk


@pytest.fixture(scope="module")
def fakes():
    return two_fakes()


def tree_and_alone(denoisers, coarse, samples, length, **options):
    """Tokens of every schedule, [schedules, samples, length], from the tree and from each run
    alone.
    """
    drawn = []

    def keep(tokens):
        drawn.append(tokens.clone())
        return score(tokens)

    search(denoisers, coarse, samples, length, seed=3, score=keep, chunk=samples, **options)
    alone = [
        sampler.sample(denoisers, coarse.schedule(n), range(samples), length, seed=3)
        for n in coarse.names()
    ]
    return torch.stack(drawn), torch.stack(alone)


def test_the_tree_draws_what_each_schedule_alone_draws(fakes):
    tree, alone = tree_and_alone(fakes, Coarse("h", "l", 30), 3, 6, batch_size=2)
    assert torch.equal(tree, alone) and len(tree.flatten(1).unique(dim=0)) > 20


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("time_conditioning", [False, True])
def test_so_does_the_tree_of_an_mdlm(random_model, dtype, time_conditioning):
    models = {
        name: random_model(seed, n_blocks=blocks, time_conditioning=time_conditioning)
        .to(dtype)
        .freeze()
        for name, blocks, seed in (("h", 2, 1), ("l", 1, 2))
    }
    tree, alone = tree_and_alone(models, SMALL, 8, 16, batch_size=3)
    assert torch.equal(tree, alone) and len(tree.flatten(1).unique(dim=0)) == len(SMALL)


def test_what_schedules_begin_with_alike_runs_once(fakes):
    coarse, counts, runs = Coarse("h", "l", 100), sampler.Counts(), []
    state = sampler.begin(range(2), 6, 100, 3, seed=0)
    assert (
        len(list(walk(coarse.names(), state, coarse, lambda *_: runs.append(1)))) == 210
        and len(runs) == 790
    )
    run(fakes, coarse, 10, chunk=10, counts=counts)
    alone = sampler.Counts()
    for name in coarse.names():
        sampler.sample(fakes, coarse.schedule(name), range(10), 6, seed=3, counts=alone)
    # Of six tokens a sixth are drawn first, for which nothing runs: 790 / 2100 is reached with
    # longer texts.
    assert counts.forwards.total() < 0.5 * alone.forwards.total()


def test_chunks_and_batches_change_nothing(fakes):
    whole = run(fakes, chunk=10)
    for options in (dict(chunk=3), dict(chunk=4, batch_size=1)):
        assert all(np.array_equal(a, b) for a, b in zip(whole, run(fakes, **options)))
    assert whole[0].shape == (10, 10) and np.isfinite(whole).all()


def test_a_length_over_the_maximum(fakes):
    with pytest.raises(StepimpError, match="outside 1..6"):
        run(fakes, length=7)


# ---- kills ----


class Killed(Exception):
    pass


class Mortal(FakeDenoiser):
    """A fake that dies after so many forward passes."""

    lives = 10**9

    def hidden(self, *arguments):
        Mortal.lives -= 1
        if Mortal.lives < 0:
            raise Killed
        return super().hidden(*arguments)


@pytest.mark.parametrize("elimination", [None, Elimination(2, 0.9)])
def test_a_search_killed_ten_times_ends_with_the_same_tables(fakes, tmp_path, elimination):
    whole = run(fakes, elimination=elimination, samples=20)
    mortals = {"h": Mortal(length=6, seed=1), "l": Mortal(length=6, seed=2)}
    draw, kills, done = random.Random(1), 0, -1
    while True:
        Mortal.lives = draw.randint(5, 30) if kills < 10 else 10**9
        journal = Journal(tmp_path / "search.journal", "key")
        assert len(journal.done) >= done
        done = len(journal.done)
        try:
            again = run(mortals, elimination=elimination, samples=20, journal=journal)
            break
        except Killed:
            kills += 1
    assert kills == 10 and done > 5
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(whole, again))


def test_a_kill_costs_at_most_one_way_through_the_tree(fakes, tmp_path):
    """Killed after each of its units in turn: what is run twice is at most what leads to the next
    one.
    """
    counts, at = sampler.Counts(), []
    run(fakes, counts=counts, samples=4, progress=lambda *_: at.append(counts.forwards.total()))
    for units, before in enumerate(at):  # the first report is that the work begins
        journal, again = Journal(tmp_path / str(units), "key"), sampler.Counts()
        journal.done = {
            f"{name}:0:4": {"log_ppl": [0] * 4, "entropy": [0] * 4}
            for name in SMALL.names()[:units]
        }
        run(fakes, samples=4, journal=journal, counts=again)
        assert (
            at[-1] <= before + again.forwards.total() <= at[-1] + 4 * 6
        )  # four samples of six tokens


def test_an_interrupt_from_the_progress_bar_loses_nothing(fakes, tmp_path):
    def interrupt(done, total):
        assert total == 30
        if done == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(fakes, journal=Journal(tmp_path / "a", "key"), progress=interrupt)
    assert len(Journal(tmp_path / "a", "key").done) == 17
