"""The tree of schedules against each schedule alone, kills, several processes, the race's promise,
and the ranking.
"""

import itertools
import random
import threading

import numpy as np
import pytest
import torch
from fakes import FakeDenoiser
from scipy import stats

from stepimp.errors import StepimpError
from stepimp.processes import Processes
from stepimp.results import Journal, Run
from stepimp.sampling import sampler
from stepimp.search import ranking
from stepimp.search.elimination import Race
from stepimp.search.exhaustive import Coarse, search, segment_runs, walk

SMALL = Coarse("h", "l", 30, segments=5, light_segments=2)


@pytest.fixture(scope="module")
def fakes():
    return {"h": FakeDenoiser(length=6, seed=1), "l": FakeDenoiser(length=6, seed=2)}


def score(tokens):
    """Log-PPL that falls with the token ids, and as "entropy" a number that tells all texts
    apart.
    """
    tokens = tokens.double().numpy()
    return 3 - tokens.mean(1), tokens @ 4.0 ** np.arange(tokens.shape[1])


def run(denoisers, coarse=SMALL, samples=10, **options):
    defaults = dict(length=6, seed=3, score=score, batch_size=4, chunk=4)
    return search(denoisers, coarse, samples, **{**defaults, **options})


# ---- the schedules ----


def test_the_papers_schedules():
    coarse = Coarse("12b", "4b", 1000)
    names = coarse.names()
    assert len(coarse) == len(names) == len(set(names)) == 210 and names == sorted(names)
    assert all(len(name) == 10 and name.count("L") == 4 for name in names)
    assert segment_runs(names) == 790
    assert coarse.schedule("LHHHHHHLLL").format("12b", "4b") == "L100,H600,L300"


@pytest.mark.parametrize("steps, segments", [(23, 10), (10, 10), (7, 3)])
def test_segments_of_a_t_they_do_not_divide_differ_by_one_step(steps, segments):
    coarse = Coarse("h", "l", steps, segments, 2)
    widths = np.diff(coarse.edges)
    assert widths.sum() == steps and widths.min() >= 1 and widths.max() - widths.min() <= 1
    schedules = [coarse.schedule(name) for name in coarse.names()]
    assert all(schedule.steps == steps for schedule in schedules) and len(set(schedules)) == len(
        schedules
    )


# ---- the tree ----


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


@pytest.mark.parametrize("race", [None, Race(2, 0.9)])
def test_a_search_killed_ten_times_ends_with_the_same_tables(fakes, tmp_path, race):
    whole = run(fakes, race=race, samples=20)
    mortals = {"h": Mortal(length=6, seed=1), "l": Mortal(length=6, seed=2)}
    draw, kills, done = random.Random(1), 0, -1
    while True:
        Mortal.lives = draw.randint(5, 30) if kills < 10 else 10**9
        journal = Journal(tmp_path / "search.journal", "key")
        assert len(journal.done) >= done
        done = len(journal.done)
        try:
            again = run(mortals, race=race, samples=20, journal=journal)
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
    for units, before in enumerate(at, 1):
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


# ---- several processes ----


class Thread(Processes):
    """One of several threads that play processes; `board` is where they leave what they found."""

    def __init__(self, rank, count, board, barrier):
        self.rank, self.count, self.board, self.barrier = rank, count, board, barrier

    def gather(self, found):
        self.board[self.rank] = dict(found)
        self.barrier.wait()
        union = {key: value for part in self.board for key, value in part.items()}
        self.barrier.wait()
        return union


def run_together(denoisers, count, journals=None, **options):
    """What each of `count` processes returns."""
    board, barrier, results = [None] * count, threading.Barrier(count, timeout=60), [None] * count

    def work(rank):
        journal = journals and journals(rank)
        results[rank] = run(
            denoisers, processes=Thread(rank, count, board, barrier), journal=journal, **options
        )

    threads = [threading.Thread(target=work, args=[rank]) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("race", [None, Race(2, 0.9)])
def test_processes_share_the_tree_and_agree_on_the_end(fakes, count, race):
    alone = run(fakes, race=race, samples=20)
    for result in run_together(fakes, count, race=race, samples=20):
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(alone, result))


def test_parts_are_disjoint_and_complete():
    items = list(range(11))
    parts = [Thread(rank, 3, None, None).part(items) for rank in range(3)]
    assert (
        list(itertools.chain(*parts)) == items and max(map(len, parts)) - min(map(len, parts)) <= 1
    )


def test_a_search_begun_by_three_processes_is_ended_by_one(fakes, tmp_path):
    """Whatever number of processes goes on: the journals of all are taken over, and removed in the
    end.
    """
    three = Run(tmp_path, "search", {"a": 1}, {})
    run_together(fakes, 3, lambda rank: three.journal(rank, 3))
    names = [f"search-{three.key}{part}" for part in (".1.journal", ".2.journal", ".journal")]
    assert [path.name for path in three.journals()] == names
    for path in three.journals():  # the last unit of each is lost
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:-1]) + lines[-1][:9])
    run_of_two = [three.journal(rank, 2) for rank in range(2)]
    assert (
        sum(len(journal.done) for journal in run_of_two)
        == len({*run_of_two[0].done, *run_of_two[1].done})
        == 27
    )
    one = three.journal()
    counts = sampler.Counts()
    result = run(fakes, journal=one, counts=counts)
    assert len(one.done) == 30 and all(np.array_equal(a, b) for a, b in zip(result, run(fakes)))
    three.finish([])
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


# ---- the race ----


def raced(values, race, chunk):
    """Which schedules are left after a race over values [S, n], looking after each chunk but the
    last.
    """
    running = np.arange(len(values))
    looks = range(chunk, values.shape[1], chunk)
    level = race.level(len(values), len(looks))
    for n in looks:
        running = running[race.running(values[running, :n], level)]
    return set(running.tolist())


def share_of_wrong_drops(race, schedules, trials, skewed, seed=0):
    """How often at least one of the first race.top schedules is dropped, although all are equally
    good.
    """
    draw, wrong = np.random.default_rng(seed), 0
    for _ in range(trials):
        values = draw.normal(size=(schedules, 60)) + draw.normal(size=60)
        wrong += not set(range(race.top)) <= raced(np.exp(values) if skewed else values, race, 20)
    return wrong / trials


@pytest.mark.parametrize("top, schedules", [(1, 2), (1, 6), (2, 6)])
@pytest.mark.parametrize("skewed", [False, True])
def test_a_race_drops_one_of_the_best_at_most_as_often_as_it_says(top, schedules, skewed):
    trials, allowed = 600, 0.2
    wrong = share_of_wrong_drops(Race(top, 1 - allowed), schedules, trials, skewed)
    assert stats.binomtest(round(wrong * trials), trials, allowed, "greater").pvalue > 1e-3


def test_the_bound_is_nearly_reached_where_it_can_be():
    """Two equal schedules: without its share for each look, the race would err too often, and this
    would see it.
    """
    assert share_of_wrong_drops(Race(1, 0.8), 2, 600, skewed=False) > 0.08


def test_a_race_finds_the_best_and_saves_the_rest():
    draw = np.random.default_rng(0)
    values = np.arange(8)[:, None] + draw.normal(size=40) + 0.3 * draw.normal(size=(8, 40))
    assert raced(values, Race(2, 0.95), 10) == {0, 1}


def test_equal_schedules_stay():
    assert Race(1, 0.95).running(np.ones((4, 10)), 0.01).all()
    assert Race(1, 0.95).running(np.array([[1.0], [2.0]]), 0.01).all()  # one sample says nothing


class Clear(FakeDenoiser):
    """Draws its own token only, whatever it sees: one schedule's text is better than another's by
    design.
    """

    def __init__(self, token):
        super().__init__(length=6)
        self.table = torch.full_like(self.table, -50.0)
        self.table[..., token] = 0.0


def test_a_race_runs_only_the_subtrees_that_survive():
    """Light tokens make the text worse, and the second segment holds most events: schedules light
    there go.
    """
    models = {"h": Clear(2), "l": Clear(0)}
    counts, raced_counts = sampler.Counts(), sampler.Counts()
    whole, entropy = run(models, samples=100, chunk=10, counts=counts)
    left, left_entropy = run(models, samples=100, chunk=10, race=Race(1, 0.9), counts=raced_counts)
    drawn = np.isfinite(left).sum(1)
    assert 1 <= (drawn == 100).sum() < 10 and drawn.min() < 200 and (drawn % 10 == 0).all()
    assert np.array_equal(left[np.isfinite(left)], whole[np.isfinite(left)])
    rounds = ranking.race_rounds(SMALL, left_entropy, 10)
    assert [one["schedules"] for one in rounds["rounds"]] == [
        (drawn > start).sum() for start in range(0, 100, 10)
    ]
    assert rounds["rounds"][0]["segment_runs"] == segment_runs(SMALL.names())
    saved = 1 - raced_counts.forwards.total() / counts.forwards.total()
    assert saved == pytest.approx(rounds["saved"], abs=0.05) and saved > 0.05


# ---- the ranking ----

TOY = Coarse("h", "l", 30, segments=3, light_segments=2)  # HLL, LHL, LLH
TOY_PPL = np.array([[10.0, 20.0], [10.0, 30.0], [40.0, 50.0]])  # means 15, 20, 45; of all 80/3
TOY_ENTROPY = np.array([[1.0, 2.0], [1.0, 3.0], [2.0, 2.0]])
TOY_PREDICTED = [{"predicted_path_kl_nats": value} for value in (0.2, 0.1, 0.3)]


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
    (row,) = toy()["predictions"]
    assert (row["predicted_by"], row["segments"], row["rank"]) == (
        "predicted_path_kl_nats",
        "LHL",
        2,
    )
    assert row["regret_ppl"] == pytest.approx(5)
    assert (row["regret_ppl_low"], row["regret_ppl_high"]) == pytest.approx((0, 10))
    assert row["spearman"] == pytest.approx(0.5) and row["kendall"] == pytest.approx(1 / 3)


def test_schedules_dropped_by_a_race_come_after_those_that_ran_on():
    ppl, entropy = TOY_PPL.copy(), TOY_ENTROPY.copy()
    ppl[0, 1] = entropy[0, 1] = np.nan
    found = toy(ppl, entropy)
    assert [row["segments"] for row in found["rows"]] == ["LHL", "LLH", "HLL"]
    assert [row["samples"] for row in found["rows"]] == [2, 2, 1]
    # Influence is of the first sample alone, which all have.
    assert [row["influence_ppl"] for row in found["influence"]] == pytest.approx([5, 5, -10])
    assert found["log_ppl"]["HLL"] == pytest.approx([np.log(10)])


@pytest.mark.parametrize("tied", [False, True])
def test_rank_correlations_are_scipys(tied):
    draw = np.random.default_rng(0)
    predicted, means = draw.normal(size=30), draw.normal(size=(30, 4))
    if tied:
        predicted, means = predicted.round(), means.round()
    found = ranking.rank_correlations(predicted, means)
    assert found["spearman"] == pytest.approx(
        [stats.spearmanr(predicted, one).statistic for one in means.T]
    )
    assert found["kendall"] == pytest.approx(
        [stats.kendalltau(predicted, one).statistic for one in means.T]
    )


def test_how_often_a_segment_is_light_at_both_ends():
    rows = toy()["influence"]
    assert [(row["light_in_top"], row["light_in_bottom"]) for row in rows] == [
        (0, 1),
        (1, 1),
        (1, 0),
    ]
    assert [row["extremes"] for row in rows] == [1, 1, 1]
