"""Chains of small fake denoisers enumerated from the definition, to hold predictions against.

Text is uniform over all token sequences, so that every expectation is a finite sum.
"""

import itertools
from functools import cache

import numpy as np
import torch
from fixed_inputs import Fake, FixedInputs

from stepimp.curves import measure
from stepimp.curves.masked_counts import RankedInputs

LENGTH, VOCAB = 3, 2
MODELS = {name: Fake(VOCAB, LENGTH, seed) for seed, name in enumerate(("heavy", "a", "b"))}
TEXTS = list(itertools.product(range(VOCAB), repeat=LENGTH))
BLOCKS = {"heavy": 12, "a": 4, "b": 8}


@cache
def log_p(name, z):
    """[L, V] log-probabilities of a model at a state."""
    model = MODELS[name]
    rows = model.logits(model.hidden(torch.tensor([z])))[0].log_softmax(-1)
    return rows[:, :VOCAB].numpy()


def masked_of(z):
    return [j for j, token in enumerate(z) if token == VOCAB]


def nelbo(name, z, x, revealed):
    """-log p(x | z) summed over the revealed positions."""
    return -sum(log_p(name, z)[j, x[j]] for j in revealed)


def path_kl(name, z, x, revealed):
    """KL(heavy || model) summed over the revealed positions."""
    p = log_p("heavy", z)
    return sum((np.exp(p[j]) * (p[j] - log_p(name, z)[j])).sum() for j in revealed)


def after(z, x, revealed):
    return tuple(x[j] if j in revealed else token for j, token in enumerate(z))


def ancestral(model_of, steps, loss):
    """Expected loss per token and forward passes of each model, over all texts and all choices of
    the positions that unmask. model_of(i, n): the model of step i with n masked positions.
    """
    total, passes = 0.0, dict.fromkeys(MODELS, 0.0)
    for x in TEXTS:
        states = {(VOCAB,) * LENGTH: 1 / len(TEXTS)}
        for i in range(steps, 0, -1):
            then = {}
            for z, mass in states.items():
                masked = masked_of(z)
                for flags in itertools.product((False, True), repeat=len(masked)):
                    chosen = [j for j, flag in zip(masked, flags) if flag]
                    kept = len(masked) - len(chosen)
                    weight = mass * (1 / i) ** len(chosen) * (1 - 1 / i) ** kept
                    if weight == 0:
                        continue
                    if chosen:
                        name = model_of(i, len(masked))
                        total += weight * loss(name, z, x, chosen)
                        passes[name] += weight
                    new = after(z, x, chosen)
                    then[new] = then.get(new, 0.0) + weight
            states = then
    return total / LENGTH, passes


def in_groups(groups, loss):
    """Expected loss per token of groups (model, tokens), positions in a uniformly random order."""
    total, orders = 0.0, list(itertools.permutations(range(LENGTH)))
    for x in TEXTS:
        for order in orders:
            z, place = (VOCAB,) * LENGTH, 0
            for name, tokens in groups:
                revealed = order[place : place + tokens]
                total += loss(name, z, x, revealed)
                z, place = after(z, x, revealed), place + tokens
    return total / len(TEXTS) / len(orders) / LENGTH


def exact_measurements():
    """Curves over n whose inputs are all texts under all orders of masking: exact means."""
    tokens = torch.tensor(TEXTS)
    orders = torch.tensor(list(itertools.permutations(range(LENGTH))))
    uniforms = ((orders + 0.5) / LENGTH)[:, None].expand(-1, len(TEXTS), -1).double()
    ranked = RankedInputs(FixedInputs(tokens, uniforms), LENGTH)
    times = np.arange(1, LENGTH + 1) / LENGTH
    return ranked.exact(measure.measure(MODELS, "heavy", ("a", "b"), None, ranked, times, 0))
