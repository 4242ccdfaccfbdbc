"""Forward passes that are expected of work against those that it runs."""

import pytest
import torch
from fakes import FakeDenoiser
from searching import SMALL, run

from stepimp.curves.inputs import TextInputs
from stepimp.curves.measure import measure, time_grid
from stepimp.estimates.work import curves_work, sampling_work, search_work
from stepimp.noise import NoiseSchedule
from stepimp.sampling import sampler
from stepimp.schedules.schedule import parse
from stepimp.search.coarse import Coarse

LENGTH = 6
COSTS = {"h": (100.0, 7.0), "l": (10.0, 3.0), "s": (100.0, 7.0)}


def fakes(*names):
    return {name: FakeDenoiser(length=LENGTH, seed=seed) for seed, name in enumerate(names)}


@pytest.mark.parametrize("batch_size", [4, 32])
def test_passes_of_curves_are_exact(batch_size):
    models = fakes("h", "l", "s")
    tokens = torch.randint(3, (10, LENGTH), generator=torch.Generator().manual_seed(0))
    inputs = TextInputs(tokens, 0, NoiseSchedule("linear"), repeats=2)
    # At t close to 1 a few inputs are all masked: never here, where a batch has several.
    measured = measure(models, "h", ["l"], "s", inputs, time_grid(3), 0, batch_size=batch_size)
    work = curves_work(list(models), 10, 2, 3, LENGTH, batch_size)
    assert {name: sum(model.batches) for name, model in models.items()} == dict(work.forwards)
    assert work.rows["h"] == pytest.approx(
        measured.masked[:-1].sum() + LENGTH * (3 if batch_size == 4 else 1) * 2, rel=0.1
    )


@pytest.mark.parametrize(
    "texts", [["H12"], ["L3,H6,L3"], ["H12", "L6,H6", "L1,H1,L1,H1,L8"]], ids=len
)
@pytest.mark.parametrize("prefix", [0, 2])
def test_passes_of_sampling_are_those_expected(texts, prefix):
    plans = [parse(text, "h", "l") for text in texts]
    samples, together = 900, 45
    models, counts = fakes("h", "l"), sampler.Counts()
    given = torch.arange(samples * prefix).view(samples, prefix) % 3 if prefix else None
    for plan in plans:
        for start in range(0, samples, together):
            turn = range(start, start + together)
            part = None if given is None else given[start : start + together]
            sampler.sample(models, plan, turn, LENGTH, seed=0, prefix=part, counts=counts)
    work = sampling_work(
        plans, samples, LENGTH, LENGTH - prefix, 16, together, shared_start=not prefix
    )
    assert dict(counts.forwards) == pytest.approx(
        {name: count for name, count in work.forwards.items() if count}, rel=0.03
    )
    assert dict(counts.tokens) == pytest.approx(dict(work.rows), rel=0.03)
    assert sum(work.rows.values()) == pytest.approx(len(plans) * samples * (LENGTH - prefix))


def test_passes_of_a_search_are_those_expected():
    counts = sampler.Counts()
    models = fakes("h", "l")
    run(models, samples=400, chunk=40, counts=counts)
    work = search_work(SMALL, 400, LENGTH, 4, 40)
    assert dict(counts.forwards) == pytest.approx(dict(work.forwards), rel=0.03)
    assert dict(counts.tokens) == pytest.approx(dict(work.rows), rel=0.03)
    assert work.texts == 400 * len(SMALL)


def test_flops_and_block_tokens_weigh_the_passes():
    work = curves_work(["h", "l"], 1, 1, 1, LENGTH, 1)
    assert work.forwards == {"h": 1, "l": 1}
    assert work.flops(COSTS) == 110 + LENGTH * (7 + 3)
    assert work.block_tokens({"h": 4, "l": 1}) == 5 * LENGTH


def test_batches_hold_no_more_than_there_is():
    plan = parse("L2,H2", "h", "l", 4)
    for work in (
        curves_work(["h", "l"], 6, 2, 10, 16, 10**9),
        sampling_work([plan], 6, 16, 16, 10**9, 2 * 10**9),
        search_work(Coarse("h", "l", 8, 4, 2), 9, 16, 10**9, 6),
    ):
        assert work.batch_size == 6
