"""The laws of all samplers by enumeration: which events happen with which probability, and which
tokens they draw. An event is (positions, time, model), a law is a list of (probability, events)."""

import itertools
import math
from functools import cache

import numpy as np
import torch

M = 3  # the mask token of the fakes


def masked(start):
    """The positions of a sequence that are masked."""
    return [i for i, token in enumerate(start) if token == M]


def ancestral(positions, steps, model):
    """Each position unmasks at a step of T. model: (n masked, time) -> name."""
    law = []
    for chosen in itertools.product(range(1, steps + 1), repeat=len(positions)):
        events, left = [], len(positions)
        for step in sorted(set(chosen), reverse=True):
            together = [p for p, s in zip(positions, chosen) if s == step]
            events.append((together, step / steps, model(left, step / steps)))
            left -= len(together)
        law.append((steps ** -len(positions), events))
    return law


def first_hitting(positions, model, cuts=()):
    """One position at a time, at the positions' own uniform times; nothing changes with the time
    but at the cuts.
    """
    edges = [0.0, *sorted(cuts), 1.0]
    cells = [((low + high) / 2, high - low) for low, high in zip(edges, edges[1:])]
    law = []
    for chosen in itertools.product(cells, repeat=len(positions)):
        probability = math.prod(width for _, width in chosen)
        times = sorted({time for time, _ in chosen}, reverse=True)
        at = {t: [p for p, (time, _) in zip(positions, chosen) if time == t] for t in times}
        orders = list(itertools.product(*(itertools.permutations(at[t]) for t in times)))
        for order in orders:
            single = [(p, t) for t, group in zip(times, order) for p in group]
            law.append(
                (
                    probability / len(orders),
                    [([p], t, model(len(single) - i, t)) for i, (p, t) in enumerate(single)],
                )
            )
    return law


def in_groups(positions, groups):
    """A random order, cut into groups of (model, size), of which the last ones are used."""
    while sum(size for _, size in groups) > len(positions):
        (model, size), *rest = groups
        beyond = sum(size for _, size in groups) - len(positions)
        groups = [(model, size - beyond), *rest] if beyond < size else rest
    orders = list(itertools.permutations(positions))
    law = []
    for order in orders:
        events, start = [], 0
        for model, size in groups:
            events.append((list(order[start : start + size]), None, model))
            start += size
        law.append((1 / len(orders), events))
    return law


def distribution(denoisers, law, start):
    """{tokens: probability}. A model may also be a function (z, positions, time) -> name."""
    mask_id = next(iter(denoisers.values())).mask_id

    @cache
    def p(name, z, time):
        model, t = denoisers[name], torch.tensor([1.0 if time is None else time])
        return model.logits(model.hidden(torch.tensor([z]), t)[0]).softmax(-1).numpy()

    total: dict[tuple, float] = {}
    for probability, events in law:
        states = {tuple(start): probability}
        for positions, time, model in events:
            after: dict[tuple, float] = {}
            for z, mass in states.items():
                name = model(z, positions, time) if callable(model) else model
                for tokens in itertools.product(range(mask_id), repeat=len(positions)):
                    new, weight = list(z), mass
                    for position, token in zip(positions, tokens):
                        new[position], weight = token, weight * p(name, z, time)[position, token]
                    after[tuple(new)] = after.get(tuple(new), 0.0) + weight
            states = after
        for z, mass in states.items():
            total[z] = total.get(z, 0.0) + mass
    return total


def observed(tokens, exact):
    """How often each outcome of {tokens: probability} is among tokens [N, L], and how often it
    should be.
    """
    index = {outcome: k for k, outcome in enumerate(exact)}
    counted = np.bincount([index[tuple(row)] for row in tokens.tolist()], minlength=len(exact))
    return counted, len(tokens) * np.array(list(exact.values()))
