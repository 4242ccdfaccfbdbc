"""A small search of fake models, for the tests of the search."""

import numpy as np
from fakes import FakeDenoiser

from stepimp.search.coarse import Coarse
from stepimp.search.exhaustive import search

SMALL = Coarse("h", "l", 30, segments=5, light_segments=2)


def two_fakes(kind=FakeDenoiser):
    """A heavy and a light model that answer from tables."""
    return {"h": kind(length=6, seed=1), "l": kind(length=6, seed=2)}


def score(tokens):
    """Log-PPL that falls with the token ids, and as "entropy" a number that differs for all
    texts.
    """
    tokens = tokens.double().numpy()
    return 3 - tokens.mean(1), tokens @ 4.0 ** np.arange(tokens.shape[1])


def run(denoisers, coarse=SMALL, samples=10, **options):
    """(log-PPL, entropy) of a search of few and short samples."""
    defaults = dict(length=6, seed=3, score=score, batch_size=4, chunk=4)
    return search(denoisers, coarse, samples, **{**defaults, **options})
