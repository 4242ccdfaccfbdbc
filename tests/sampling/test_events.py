"""Samplers beside the ancestral one over steps: what unmasks when, and by which model."""

import event_laws
import numpy as np
import pytest
import torch
from event_laws import M, masked
from fakes import chi_square, two_models

from stepimp.errors import StepimpError
from stepimp.sampling import sampler, state
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.schedule import Schedule, parse

STARTS = {"nothing given": (M, M, M), "a prefix": (1, M, M), "given in the middle": (M, 2, M)}
over_starts = pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)


def p_value(denoisers, schedule, law, start, samples=1000, **options):
    exact = event_laws.distribution(denoisers, law, start)
    assert sum(exact.values()) == pytest.approx(1)
    prefix = torch.tensor(start)
    tokens = sampler.sample(
        denoisers, schedule, range(samples), 3, seed=5, prefix=prefix, batch_size=64, **options
    )
    return chi_square(*event_laws.observed(tokens, exact))


OVER_MASKED = MaskedSchedule((("l", 3, 2), ("h", 2, 1), ("l", 1, 0)))


@over_starts
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_ancestral_with_a_schedule_over_masked_positions(start, steps):
    denoisers = two_models(steps=steps, time_conditioned=True)
    law = event_laws.ancestral(masked(start), steps, lambda n, t: OVER_MASKED.model_at(n))
    assert p_value(denoisers, OVER_MASKED, law, start, steps=steps) > 1e-3


@over_starts
def test_first_hitting_with_a_schedule_over_masked_positions(start):
    law = event_laws.first_hitting(masked(start), lambda n, t: OVER_MASKED.model_at(n))
    assert p_value(two_models(), OVER_MASKED, law, start, first_hitting=True) > 1e-3


@over_starts
def test_first_hitting_with_times_and_a_schedule_over_steps(start):
    steps, schedule = 2, parse("L1,H2,L1", "h", "l")
    denoisers = two_models(steps=steps, time_conditioned=True)
    cuts = [(k + 0.5) / steps for k in range(steps)] + [k / 4 for k in range(1, 4)]

    def model(n, t):
        return schedule.by_step()[int(np.ceil(t * 4)) - 1]

    law = event_laws.first_hitting(masked(start), model, sorted(set(cuts)))
    assert p_value(denoisers, schedule, law, start, first_hitting=True) > 1e-3


@over_starts
@pytest.mark.parametrize("groups", [(("l", 1), ("h", 2)), (("h", 2), ("l", 1)), (("l", 3),)])
def test_plans(start, groups):
    law = event_laws.in_groups(masked(start), list(groups))
    assert p_value(two_models(), Plan(groups), law, start) > 1e-3


def test_another_law_would_be_seen():
    start = STARTS["nothing given"]
    law = event_laws.first_hitting(masked(start), lambda n, t: OVER_MASKED.model_at(n))
    other = MaskedSchedule((("h", 3, 2), ("l", 2, 0)))
    assert p_value(two_models(), other, law, start, first_hitting=True) < 1e-6
    assert p_value(two_models(), OVER_MASKED, law, start, steps=2) < 1e-6


def test_first_hitting_is_the_limit_of_ever_more_steps():
    """With so many steps that each has one event, even the tokens are the same."""
    denoisers = two_models(length=6)
    many, few = Schedule.of(["l"] * 500_000 + ["h"] * 500_000), parse("L1,H1", "h", "l")
    ancestral = sampler.sample(denoisers, many, range(12), 6, seed=3)
    assert torch.equal(
        ancestral, sampler.sample(denoisers, few, range(12), 6, seed=3, first_hitting=True)
    )


@pytest.mark.parametrize(
    "schedule, options",
    [
        (MaskedSchedule((("l", 6, 3), ("h", 3, 0))), dict(steps=4)),
        (MaskedSchedule((("l", 6, 3), ("h", 3, 0))), dict(first_hitting=True)),
        (parse("L2,H3", "h", "l"), dict(first_hitting=True)),
        (Plan((("l", 1), ("h", 2), ("l", 3))), {}),
    ],
    ids=["ancestral", "first-hitting by masked", "first-hitting by step", "plan"],
)
def test_tokens_do_not_depend_on_the_batches(schedule, options):
    denoisers = two_models(length=6, time_conditioned=True, steps=2)
    prefixes = torch.tensor([[M, M], [1, M], [1, 2], [M, 0]] * 5)
    together = sampler.sample(
        denoisers, schedule, range(20), 6, seed=3, prefix=prefixes, batch_size=16, **options
    )
    for i in range(0, 20, 7):
        alone = sampler.sample(
            denoisers, schedule, [i], 6, seed=3, prefix=prefixes[i], batch_size=1, **options
        )
        assert torch.equal(alone, together[i : i + 1])
    given = prefixes != M
    assert torch.equal(together[:, :2][given], prefixes[given])
    assert (together != M).all()


def test_forward_passes_are_those_of_the_events():
    denoisers, counts = two_models(length=6), sampler.Counts()
    plan = Plan((("l", 1), ("h", 2), ("l", 3)))
    sampler.sample(denoisers, plan, range(10), 6, seed=0, counts=counts)
    assert counts.sequential == {"l": 20, "h": 10}
    assert counts.forwards == {"l": 1 + 10, "h": 10}  # the first pass serves all samples
    assert counts.tokens == {"l": 40, "h": 20}


def test_times_of_first_hitting_are_those_of_the_literature():
    """t <- t u^(1/n): the largest of n uniforms below t has the distribution function (s/t)^n."""
    begun = state.begin(range(4000), 3, None, M, seed=1)
    times = np.concatenate([begun.times, np.ones((4000, 1))], axis=1)
    for n in (3, 2, 1):
        ratio = (times[:, n - 1] / times[:, n]) ** n
        assert np.abs(np.sort(ratio) - (np.arange(4000) + 0.5) / 4000).max() < 0.03


def test_times_of_a_plan_are_shares_of_masked_positions():
    begun = state.begin(range(2), 4, (1, 2, 1), M, seed=1, prefix=torch.tensor([[M, M], [0, 0]]))
    assert begun.times.tolist() == [[0.25, 0.75, 1.0], [0.25, 0.5, 0.5]]
    assert sorted(begun.unmask_step[0]) == [1, 2, 2, 3]
    assert sorted(begun.unmask_step[1]) == [0, 0, 1, 2]


@pytest.mark.parametrize(
    "schedule, options, message",
    [
        (OVER_MASKED, {}, "needs T"),
        (Plan((("h", 3),)), dict(first_hitting=True), "choose one of them"),
        (Plan((("h", 2),)), {}, "3 masked positions; the schedule is made for at most 2"),
        (MaskedSchedule((("h", 2, 0),)), dict(steps=3), "made for at most 2"),
    ],
)
def test_what_does_not_go_together(schedule, options, message):
    with pytest.raises(StepimpError, match=message):
        sampler.sample(two_models(), schedule, range(2), 3, seed=0, **options)


def test_a_text_with_nothing_to_draw_is_refused():
    with pytest.raises(StepimpError, match="whole length of 3"):
        sampler.sample(
            two_models(), parse("H2", "h"), range(2), 3, seed=0, prefix=torch.tensor([0, 1, 2])
        )
