"""Orders that the logits choose: against their definitions, position by position."""

import itertools
import re
from pathlib import Path

import event_laws
import numpy as np
import pytest
import torch
from fakes import chi_square, two_models

from stepimp.commands import main
from stepimp.errors import StepimpError
from stepimp.sampling import policies, sampler
from stepimp.sampling.order_rules import ORDERS, Adaptive, Ranking, Remasking
from stepimp.sampling.orders import Order
from stepimp.sampling.policies import Policy
from stepimp.sampling.remasking import remasking
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.schedule import parse


def chosen_plainly(order, p, count):
    """By sorting Python numbers, one position at a time."""
    entropy = [-sum(q * np.log(q) for q in row if q > 0) for row in p]
    top = [sorted(row, reverse=True) for row in p]
    scores = {
        "confidence": [row[0] for row in top],
        "threshold": [row[0] for row in top],
        "margin": [row[0] - row[1] for row in top],
        "entropy": [-h for h in entropy],
        "eb": [-h for h in entropy],
    }
    assert order.name in scores, f"Define {order.name} here, from its paper and not from its rule."
    score = scores[order.name]
    ranked = sorted(range(len(p)), key=lambda i: -score[i])
    if order.name == "threshold":
        count = max(1, sum(s > order.level for s in score))
    if order.name == "eb":
        count = max(
            k
            for k in range(1, len(p) + 1)
            if sum(entropy[i] for i in ranked[:k]) - max(entropy[i] for i in ranked[:k])
            <= order.level + 1e-12
        )
    return ranked[:count]


RANKED = [name for name, rule in ORDERS.items() if not isinstance(rule, Remasking)]
REMASKING = [name for name in ORDERS if name not in RANKED]


@pytest.mark.parametrize("text", [*RANKED, "threshold:0.5", "threshold:0.99", "eb:0", "eb:1.5"])
def test_positions_are_chosen_as_the_definition_says(text):
    order = Order.parse(text)
    for seed in range(5):
        logits = 2 * torch.randn(6, 5, generator=torch.Generator().manual_seed(seed)).double()
        logits[:, 4] = -torch.inf
        log_p = logits.log_softmax(-1)
        chosen = order.choose(log_p, 3).tolist()
        assert chosen == chosen_plainly(order, log_p.exp().numpy(), 3)


def test_an_order_is_added_by_its_rule(monkeypatch):
    """The one with the largest last logit first, of which the level is the number."""
    rule = Adaptive(lambda log_p: log_p[:, -1], lambda scores, level: int(10 * level), level=0.2)
    monkeypatch.setitem(ORDERS, "last", rule)
    log_p = torch.tensor([[0.4, 0.6], [0.1, 0.9], [0.3, 0.7]]).log()
    assert Order.parse("last").choose(log_p, 0).tolist() == [1, 2]
    assert Order.parse("last:0.1").choose(log_p, 0).tolist() == [1]


@pytest.mark.parametrize("kind", [Ranking, Adaptive, Remasking])
def test_a_rule_without_a_part_is_an_error(kind):
    with pytest.raises(TypeError, match="missing"):
        kind()


@pytest.mark.parametrize("name", ORDERS)
def test_help_and_documentation_have_the_order_with_its_level(name):
    generate = {option.name: option for option in main.commands["generate"].params}
    page = (Path(__file__).parents[2] / "docs" / "policies.md").read_text("utf-8")
    written = Order(name).format()
    exactly = rf"(?<![-:\w]){re.escape(written)}(?![-:\w]|\.\d)"
    assert re.search(exactly, generate["order"].help), f"name {written} in the help of --order"
    assert f"`{written}`" in page, f"describe {written} in docs/policies.md"


def test_an_order_is_followed_with_the_models_of_the_schedule():
    """One sample, step by step: which model runs, what it prefers, and how much it reveals."""
    denoisers = two_models(length=6)
    policy = Policy(parse("L1,H2,L1", "h", "l"), order=Order("confidence"))
    drawn = policies.sample(denoisers, policy, [0], 6, seed=3)[0]
    z = torch.full((1, 6), 3)
    for name, count in zip(["l", "h", "h", "l"], [2, 1, 2, 1]):
        masked = torch.nonzero(z[0] == 3).flatten()
        p = denoisers[name].logits(denoisers[name].hidden(z)[0]).softmax(-1)[masked]
        best = masked[p.amax(-1).argsort(descending=True)[:count]]
        z[0, best] = drawn[best]
    assert torch.equal(z[0], drawn)


@pytest.mark.parametrize(
    "schedule, steps, sizes",
    [
        (parse("H3", "h"), None, [2, 2, 2]),
        (parse("H4", "h"), None, [2, 1, 2, 1]),
        (parse("H12", "h"), None, [1] * 6),
        (Plan((("h", 1), ("l", 5))), None, [1, 5]),
        (MaskedSchedule((("h", 6, 0),)), 3, [2, 2, 2]),
    ],
)
def test_how_many_tokens_each_step_reveals(schedule, steps, sizes):
    denoisers, counts = two_models(length=6), sampler.Counts()
    policy = Policy(schedule, steps, order=Order("entropy"))
    policies.sample(denoisers, policy, range(3), 6, seed=3, counts=counts)
    assert counts.forwards.total() == 3 * len(sizes)
    state = policy.begin(denoisers, [0], 6, 3)
    assert np.unique(state.unmask_step, return_counts=True)[1][::-1].tolist() == sizes


def test_a_high_threshold_reveals_one_token_at_a_time_and_a_low_one_all():
    denoisers = two_models(length=6)
    for level, passes in ((1.0, 6), (0.0, 1)):
        counts = sampler.Counts()
        policy = Policy(parse("H1", "h"), order=Order("threshold", level))
        policies.sample(denoisers, policy, range(4), 6, seed=3, counts=counts)
        assert counts.forwards.total() == 4 * passes


ALL = [Policy(parse("L2,H4", "h", "l"), order=Order(name)) for name in ORDERS] + [
    Policy(MaskedSchedule((("l", 6, 3), ("h", 3, 0))), 4, order=Order("remdm-rescale", 0.5)),
    Policy(MaskedSchedule((("l", 6, 3), ("h", 3, 0))), first_hitting=True, order=Order("margin")),
]


@pytest.mark.parametrize("policy", ALL, ids=lambda policy: policy.order.format())
def test_tokens_do_not_depend_on_the_batches_and_given_ones_stay(policy):
    denoisers = two_models(length=6, time_conditioned=True, steps=2)
    prefixes = torch.tensor([[3, 3], [1, 3], [1, 2], [3, 0]] * 4)
    drawn = [
        policies.sample(
            denoisers, policy, range(16), 6, seed=3, prefix=prefixes, batch_size=batch_size
        )
        for batch_size in (1, 5, 32)
    ]
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[0][:, :2][prefixes != 3], prefixes[prefixes != 3])
    assert (drawn[0] != 3).all() and not policy.exact


def remdm_distribution(denoisers, schedule, order, length):
    """{tokens: probability} of ReMDM by its definition: each position independently, step by step.
    A state is the tokens with the probability that each was drawn with."""
    first = next(iter(denoisers.values()))
    mask_id, steps, alpha = first.mask_id, schedule.steps, order.rule.alpha
    states = {((mask_id,) * length, (np.nan,) * length): 1.0}
    for i, name in zip(range(steps, 0, -1), reversed(schedule.by_step())):
        t, s, after = i / steps, (i - 1) / steps, {}
        for (z, psi), mass in states.items():
            model = denoisers[name]
            hidden = model.hidden(torch.tensor([z]), torch.tensor([1 - alpha(t)]))[0]
            p = model.logits(hidden).softmax(-1).tolist()
            sigma = remasking(order, t, s, np.array(psi))
            before, now = alpha(t), alpha(s)
            appears = (now - (1 - sigma) * before) / (1 - before)
            choices = []
            for j in range(length):
                if z[j] == mask_id:
                    stay = [((mask_id, np.nan), 1 - appears[j])]
                    drawn = [((v, p[j][v]), appears[j] * p[j][v]) for v in range(mask_id)]
                    choices.append(stay + drawn)
                else:
                    choices.append([((z[j], psi[j]), 1 - sigma[j]), ((mask_id, np.nan), sigma[j])])
            for outcome in itertools.product(*choices):
                weight = mass * np.prod([w for _, w in outcome])
                if weight > 0:
                    key = tuple(zip(*(cell for cell, _ in outcome)))
                    after[key] = after.get(key, 0.0) + weight
        states = after
    total: dict[tuple, float] = {}
    for (z, _), mass in states.items():
        total[z] = total.get(z, 0.0) + mass
    return total


@pytest.mark.parametrize("level", [0.3, 0.4, 0.9, 1.0])
@pytest.mark.parametrize("name", REMASKING)
def test_remdm_follows_its_enumerated_distribution(name, level):
    denoisers = two_models(length=2, vocab=2)
    schedule, order = parse("H3,L1", "h", "l"), Order(name, level)
    exact = remdm_distribution(denoisers, schedule, order, 2)
    assert sum(exact.values()) == pytest.approx(1)
    tokens = policies.sample(
        denoisers, Policy(schedule, order=order), range(1500), 2, seed=5, batch_size=64
    )
    assert chi_square(*event_laws.observed(tokens, exact)) > 1e-3


def test_sigma_0_is_ancestral_sampling():
    denoisers = two_models(length=3)
    law = event_laws.ancestral(range(3), 3, lambda n, t: "h")
    exact = event_laws.distribution(denoisers, law, (3, 3, 3))
    policy = Policy(parse("H3", "h"), order=Order("remdm-cap", 0.0))
    tokens = policies.sample(denoisers, policy, range(1000), 3, seed=5, batch_size=64)
    assert chi_square(*event_laws.observed(tokens, exact)) > 1e-3


def test_sigma_is_the_papers():
    none = np.full(3, np.nan)
    t, s = 0.5, 0.25
    largest = (1 - 0.75) / 0.5
    assert remasking(Order("remdm-cap", 0.2), t, s, none) == pytest.approx([0.2] * 3)
    assert remasking(Order("remdm-cap", 0.9), t, s, none) == pytest.approx([largest] * 3)
    assert remasking(Order("remdm-rescale", 0.4), t, s, none) == pytest.approx([0.4 * largest] * 3)
    psi = np.array([0.9, np.nan, 0.1])
    weight = np.exp([-0.9, -0.1])
    shares = np.insert(weight / weight.sum(), 1, 0)
    assert remasking(Order("remdm-conf"), t, s, psi) == pytest.approx(largest * shares)
    loop = Order("remdm-loop", 0.02)
    assert [loop.rule.alpha(t) for t in (1.0, 0.55, 0.3, 0.05, 0.0)] == pytest.approx(
        [0.0, 0.9, 0.9, 0.9, 1.0]
    )
    assert remasking(loop, 0.9, 0.8, none) == pytest.approx([0.0] * 3)
    assert remasking(loop, 0.3, 0.2, none) == pytest.approx([0.02] * 3)


@pytest.mark.parametrize(
    "text, message",
    [
        ("likeliest", "choose one of confidence"),
        ("margin:0.5", "takes no level"),
        ("eb:much", "Cannot read the level"),
        ("threshold:1.5", "outside 0..1"),
        ("eb:nan", "outside"),
    ],
)
def test_orders_that_cannot_be_read(text, message):
    with pytest.raises(StepimpError, match=message):
        Order.parse(text)
