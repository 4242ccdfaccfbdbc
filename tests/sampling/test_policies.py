"""Rules that choose the model by the state, and that check one model's draws by another."""

import event_laws
import numpy as np
import pytest
import torch
from event_laws import M, masked
from fakes import FakeDenoiser, chi_square, two_models

from stepimp.errors import StepimpError
from stepimp.kernels.draw import draw_tokens
from stepimp.sampling import policies, sampler
from stepimp.sampling.cascade import Cascade, mean_entropies
from stepimp.sampling.drafting import Draft, Drafted, verified
from stepimp.sampling.kernel import Kernel
from stepimp.sampling.policies import Policy
from stepimp.schedules.schedule import Schedule, parse

STARTS = {"nothing given": (M, M, M), "given in the middle": (M, 2, M)}
over_starts = pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)


def entropy(denoiser, z, positions, time):
    logits = denoiser.logits(denoiser.hidden(torch.tensor([z]), torch.tensor([time]))[0])
    return float(torch.distributions.Categorical(logits=logits).entropy()[positions].mean())


def p_value(denoisers, policy, exact, start, samples=1000):
    assert sum(exact.values()) == pytest.approx(1)
    options = dict(seed=5, prefix=torch.tensor(start), batch_size=64)
    tokens = policies.sample(denoisers, policy, range(samples), 3, **options)
    return chi_square(*event_laws.observed(tokens, exact))


@over_starts
@pytest.mark.parametrize("steps", [1, 4, None])
def test_a_cascade_follows_its_enumerated_distribution(start, steps):
    denoisers = two_models(steps=steps or 1, time_conditioned=steps is not None)

    def model(z, positions, time):
        return "h" if entropy(denoisers["l"], z, positions, time or 1.0) > 0.6 else "l"

    if steps:
        law = event_laws.ancestral(masked(start), steps, lambda n, t: model)
    else:
        law = event_laws.first_hitting(masked(start), lambda n, t: model)
    exact = event_laws.distribution(denoisers, law, start)
    policy = Policy(Cascade("h", "l", 0.6), steps, first_hitting=steps is None)
    assert p_value(denoisers, policy, exact, start) > 1e-3


def test_another_threshold_would_be_seen():
    denoisers, start = two_models(), STARTS["nothing given"]

    def model(z, positions, time):
        return "h" if entropy(denoisers["l"], z, positions, 1.0) > 0.6 else "l"

    law = event_laws.first_hitting(masked(start), lambda n, t: model)
    exact = event_laws.distribution(denoisers, law, start)
    for threshold in (0.0, 9.0):  # always heavy, always light
        other = Policy(Cascade("h", "l", threshold), first_hitting=True)
        assert p_value(denoisers, other, exact, start) < 1e-6


def test_a_cascade_that_never_or_always_escalates_is_one_model():
    denoisers = two_models(length=6)
    for threshold, name in ((-1.0, "h"), (9.0, "l")):
        counts = sampler.Counts()
        cascade = Policy(Cascade("h", "l", threshold), 4)
        drawn = policies.sample(denoisers, cascade, range(10), 6, seed=3, counts=counts)
        alone = sampler.sample(denoisers, Schedule.of([name] * 4), range(10), 6, seed=3)
        assert torch.equal(drawn, alone)
        assert set(counts.tokens) == {name}
        assert counts.forwards["l"] and bool(counts.forwards["h"]) == (name == "h")


@over_starts
@pytest.mark.parametrize("steps", [1, 2, 5, None])
@pytest.mark.parametrize("events", [1, 3])
def test_draft_and_verify_follows_the_law_of_the_heavy_model(start, steps, events):
    denoisers = two_models(steps=steps or 1, time_conditioned=steps is not None)
    if steps:
        law = event_laws.ancestral(masked(start), steps, lambda n, t: "h")
    else:
        law = event_laws.first_hitting(masked(start), lambda n, t: "h")
    exact = event_laws.distribution(denoisers, law, start)
    policy = Policy(Draft("h", "l", events), steps, first_hitting=steps is None)
    assert p_value(denoisers, policy, exact, start) > 1e-3


@pytest.mark.parametrize(
    "policy", [Policy(Draft("h", "l", 1), 8), Policy(Draft("h", "l", 1), None, True)]
)
def test_tokens_do_not_depend_on_how_many_events_are_drafted(policy):
    denoisers = two_models(length=6)
    drawn, calls = [], []
    for events in (1, 2, 4, 6):
        counts = sampler.Counts()
        longer = Policy(Draft("h", "l", events), policy.steps, policy.first_hitting)
        drawn.append(policies.sample(denoisers, longer, range(30), 6, seed=3, counts=counts))
        calls.append(counts.sequential["h"])
        assert counts.tokens == {"h": 180}
    assert all(torch.equal(drawn[0], other) for other in drawn[1:])
    assert calls == sorted(calls, reverse=True) and calls[0] > 1.2 * calls[-1]


def test_a_pass_that_verifies_has_no_more_sequences_than_a_batch():
    denoisers = two_models(length=6)
    policy = Policy(Draft("h", "l", 3), first_hitting=True)
    policies.sample(denoisers, policy, range(20), 6, seed=3, batch_size=8)
    assert max(denoisers["h"].batches) == 6 and max(denoisers["l"].batches) == 8


def test_a_light_model_that_is_the_heavy_one_is_always_accepted():
    model, counts = FakeDenoiser(length=6, seed=1), sampler.Counts()
    policy = Policy(Draft("h", "l", 3), first_hitting=True)
    drawn = policies.sample({"h": model, "l": model}, policy, range(8), 6, seed=3, counts=counts)
    assert counts.sequential["h"] == 8 * 2
    alone = sampler.sample({"h": model}, parse("H1", "h"), range(8), 6, seed=3, first_hitting=True)
    assert torch.equal(drawn, alone)


POLICIES = {
    "cascade": Policy(Cascade("h", "l", 0.7), 4),
    "first-hitting cascade": Policy(Cascade("h", "l", 0.7), first_hitting=True),
    "draft": Policy(Draft("h", "l", 3), 4),
    "first-hitting draft": Policy(Draft("h", "l", 3), first_hitting=True),
    "sharpened": Policy(parse("L2,H2", "h", "l"), kernel=Kernel(0.7, 0.9)),
    "sharpened draft": Policy(Draft("h", "l", 3), 4, kernel=Kernel(0.7, 0.9)),
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_tokens_do_not_depend_on_the_batches(policy):
    denoisers = two_models(length=6, time_conditioned=True, steps=2)
    prefixes = torch.tensor([[M, M], [1, M], [1, 2], [M, 0]] * 5)
    drawn = [
        policies.sample(
            denoisers, policy, range(20), 6, seed=3, prefix=prefixes, batch_size=batch_size
        )
        for batch_size in (1, 7, 64)
    ]
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[0][:, :2][prefixes != M], prefixes[prefixes != M])
    assert (drawn[0] != M).all()


def sharpened(p, temperature, top_p):
    """By sorting and summing, one distribution at a time."""
    p = p ** (1 / temperature)
    p /= p.sum()
    kept, total = np.zeros_like(p), 0.0
    for token in np.argsort(-p):
        if total >= top_p:
            break
        kept[token], total = p[token], total + p[token]
    return kept / kept.sum()


@pytest.mark.parametrize("temperature, top_p", [(1.0, 1.0), (0.5, 1.0), (1.0, 0.6), (1.7, 0.8)])
def test_a_sharpened_distribution_is_what_its_definition_says(temperature, top_p):
    logits = torch.randn(20, 7, generator=torch.Generator().manual_seed(0))
    log_p = Kernel(temperature, top_p).log_p(logits)
    for row, p in zip(log_p.exp().numpy(), logits.double().softmax(-1).numpy()):
        np.testing.assert_allclose(row, sharpened(p, temperature, top_p), atol=1e-12)


def test_draws_follow_the_sharpened_distribution():
    denoisers = {"h": FakeDenoiser(length=1, seed=4)}
    policy = Policy(parse("H1", "h"), kernel=Kernel(1.2, 0.9))
    tokens = policies.sample(denoisers, policy, range(3000), 1, seed=2)
    logits = denoisers["h"].logits(denoisers["h"].hidden(torch.tensor([[M]]))[0])
    p = sharpened(logits.double().softmax(-1)[0].numpy(), 1.2, 0.9)
    counted = np.bincount(tokens.flatten(), minlength=4)
    assert (counted[p == 0] == 0).all()
    assert chi_square(counted[p > 0], 3000 * p[p > 0]) > 1e-3


class Sharpened(FakeDenoiser):
    """A fake whose own distribution is that of a `Kernel(0.8, 0.7)` on another fake."""

    def logits(self, rows):
        p = super().logits(rows).softmax(-1).numpy()
        return torch.from_numpy(np.log(np.maximum([sharpened(row, 0.8, 0.7) for row in p], 1e-300)))


@pytest.mark.parametrize(
    "rule", [Draft("h", "l", 2), Cascade("h", "l", 0.6)], ids=["draft", "cascade"]
)
def test_drafts_and_cascades_follow_the_sharpened_distribution(rule):
    """A draft that of the heavy model; a cascade looks at the light model's own entropy."""
    denoisers, start = two_models(), STARTS["nothing given"]

    def model(z, positions, time):
        unsure = entropy(denoisers["l"], z, positions, 1.0) > 0.6
        return "h" if unsure or isinstance(rule, Draft) else "l"

    law = event_laws.ancestral(masked(start), 3, lambda n, t: model)
    sharp = {name: Sharpened(seed=seed) for name, seed in (("h", 1), ("l", 2))}
    exact = event_laws.distribution(sharp, law, start)
    possible = {tokens: p for tokens, p in exact.items() if p > 1e-200}
    assert p_value(denoisers, Policy(rule, 3, kernel=Kernel(0.8, 0.7)), possible, start) > 1e-3


def test_temperature_0_takes_the_likeliest_token():
    denoisers = {"h": FakeDenoiser(length=4, seed=4)}
    policy = Policy(parse("H1", "h"), kernel=Kernel(0.0))
    tokens = policies.sample(denoisers, policy, range(3), 4, seed=2)
    logits = denoisers["h"].logits(denoisers["h"].hidden(torch.full((1, 4), M))[0])
    assert (tokens == logits.argmax(-1)).all()


def test_the_law_is_said_to_be_another_one_where_it_is():
    schedule = parse("H1", "h")
    assert Policy(schedule).exact and Policy(Cascade("h", "l", 1.0), 4).exact
    assert not Policy(schedule, kernel=Kernel(0.9)).exact
    assert not Policy(schedule, kernel=Kernel(1.0, 0.9)).exact


@pytest.mark.parametrize(
    "make", [lambda: Cascade("h", "h", 1.0), lambda: Draft("h", "l", 0), lambda: Kernel(-1.0)]
)
def test_values_that_mean_nothing_are_refused(make):
    with pytest.raises(StepimpError):
        make()


def test_a_replacement_is_independent_of_the_noise_of_its_draft():
    """Where the replacement has several candidates, noise shared with the draft would be seen."""
    light = torch.tensor([0.6, 0.3, 0.02, 0.02, 0.03, 0.03]).double()
    heavy = torch.tensor([0.1, 0.4, 0.125, 0.125, 0.125, 0.125]).double()
    samples, at = np.arange(6000), np.zeros(6000, dtype=int)
    drafts = draw_tokens(light.log().expand(6000, -1), 5, samples, at)
    drawn = [
        verified(Drafted(1, at[:1], light.log()[None], drafts[i : i + 1]), heavy.log()[None], 5, i)
        for i in range(6000)
    ]
    counted = np.bincount(torch.cat(drawn).numpy(), minlength=6)
    assert chi_square(counted, 6000 * heavy.numpy()) > 1e-3


def test_a_cascade_looks_at_the_mean_entropy_of_an_event():
    light, z = two_models()["l"], STARTS["nothing given"]
    hidden = light.hidden(torch.tensor([z]), torch.tensor([1.0]))[0]
    expected = [entropy(light, z, [0, 1], 1.0), entropy(light, z, [2], 1.0)]
    assert mean_entropies(light, hidden, [2, 1]) == pytest.approx(expected, rel=1e-5)
