"""What runs at n masked positions, exactly: how many events, and how many tokens they reveal.

With T steps each of P masked positions unmasks at a step that is uniform on 1..T, so before step i
(t = i/T) the number of masked positions is N ~ Bin(P, i/T), and each of them unmasks with
probability 1/i. Both are independent of the tokens. A schedule over n runs model k(N), hence

    NELBO per token = (1/P) sum over i of E[(N / i) CE_k(N)(N)] = sum over n of w_n CE_k(n)(n),
    w_n = (1/P) sum over i of Bin(n; P, i/T) n / i,
    forward passes of a model = sum over its n of c_n,
    c_n = sum over i of Bin(n; P, i/T) (1 - (1 - 1/i)^n),

and likewise path KL. As T grows, w_n -> 1/P and c_n -> 1: events of one token (first-hitting
sampling). In every array n runs from P to 1, as sampling does.
"""

from collections.abc import Iterator

import numpy as np
from scipy.special import betainc, gammaln, xlog1py, xlogy

STEPS_AT_ONCE = 1024  # rows of a table over steps and n that are in memory together
CONTINUOUS = 1000  # steps of a schedule over t where events reveal one token


def masked_before(steps: int, positions: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The steps T..1 in pieces of [k, 1], each with Bin(n; P, i/T), [k, P]: the probability that n
    positions are masked before step i.
    """
    n = np.arange(positions, 0, -1)
    choose = gammaln(positions + 1) - gammaln(n + 1) - gammaln(positions - n + 1)
    for first in range(steps, 0, -STEPS_AT_ONCE):
        i = np.arange(first, max(0, first - STEPS_AT_ONCE), -1)[:, None]
        t = i / steps
        yield i, np.exp(choose + xlogy(n, t) + xlog1py(positions - n, -t))


def event_weights(positions: int, steps: int | None) -> tuple[np.ndarray, np.ndarray]:
    """w_n, the share of the tokens that are revealed by events which begin with n masked positions,
    and c_n, the expected number of such events; [P] each.

    steps: T of ancestral sampling; None: events of one token.
    """
    if steps is None:
        return np.full(positions, 1 / positions), np.ones(positions)
    n, tokens, forwards = np.arange(positions, 0, -1), np.zeros(positions), np.zeros(positions)
    for i, probability in masked_before(steps, positions):
        tokens += (probability * n / i).sum(0)
        forwards += (probability * (1 - (1 - 1 / i) ** n)).sum(0)
    return tokens / positions, forwards


def over_steps(curves: np.ndarray, steps: int | None) -> np.ndarray:
    """Curves over n as curves over the steps: the mean cost of a token revealed at each step.

    curves: [..., P]. Returns [..., T], step T first: sum over n of Bin(n; P, i/T) (n / (P t_i))
    times the curve. steps None: of events of one token, by the share of `CONTINUOUS` equal parts of
    the time in which they happen; the event that begins with n masked positions is at the n-th
    smallest of P uniform times, Beta(n, P - n + 1).
    """
    positions = curves.shape[-1]
    n = np.arange(positions, 0, -1)
    if steps is None:
        ends = np.arange(CONTINUOUS, -1, -1)[:, None] / CONTINUOUS
        share = -np.diff(betainc(n, positions - n + 1, ends), axis=0) * CONTINUOUS / positions
        return curves @ share.T
    pieces = [
        curves @ (probability * n / (positions * i / steps)).T
        for i, probability in masked_before(steps, positions)
    ]
    return np.concatenate(pieces, -1)
