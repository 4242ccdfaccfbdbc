"""Random projections, and denoisers whose sampling distribution is known exactly."""

import itertools
import json

import numpy as np
import torch
from event_laws import observed
from scipy import stats

from stepimp.noise import NoiseSchedule
from stepimp.sampling import sampler

WIDTHS = (16, 8, 16, 24)  # of the heavy model and the others


def projections(n, vocab, widths=WIDTHS, seed=0, dtype=torch.float32, spread=1.0):
    """Rows, heads and targets of random models whose logits have about unit variance times
    `spread`.
    """
    draw = torch.Generator().manual_seed(seed)
    rows = [torch.randn(n, width, generator=draw).to(dtype) for width in widths]
    heads = [
        (
            torch.randn(vocab, width, generator=draw).mul(spread * width**-0.5).to(dtype),
            torch.randn(vocab, generator=draw).to(dtype),
        )
        for width in widths
    ]
    return rows, heads, torch.randint(0, vocab - 1, (n,), generator=draw)


class FakeDenoiser:
    """Logits are a fixed random function of (z, t, position): a table with a row for each input."""

    noise = NoiseSchedule("linear")
    blocks = 2
    special_ids, frame, shift, trained_masking = frozenset(), ((), ()), 0, 1.0
    device, replayed = torch.device("cpu"), None

    def __init__(self, vocab=3, length=3, seed=0, time_conditioned=False, steps=1, scale=1.5):
        self.vocab_size, self.mask_id, self.max_length = vocab + 1, vocab, length
        self.time_conditioned, self.steps = time_conditioned, steps
        self.fingerprint = f"fake{seed}"
        generator = torch.Generator().manual_seed(seed)
        states = (vocab + 1) ** length * (steps + 1)
        self.table = (
            torch.randn(states, length, vocab + 1, generator=generator, dtype=torch.float64) * scale
        )
        self.table[..., self.mask_id] = 0.0
        self.batches = []

    def hidden(self, z, t=None, at=None):
        """The hidden state is the row of logits itself, except for the mask token's logit."""
        self.batches.append(len(z))
        powers = (self.vocab_size ** torch.arange(z.shape[1])).flip(0)
        state = (z * powers).sum(1)
        if self.time_conditioned:
            state = state * (self.steps + 1) + (t * self.steps).round().long()
        rows = self.table[state]
        return rows if at is None else rows.gather(1, at[..., None].expand(-1, -1, self.vocab_size))

    def block_flops(self, length):
        return 1.0

    def head(self):
        return torch.eye(self.vocab_size, dtype=torch.float64), torch.zeros(
            self.vocab_size, dtype=torch.float64
        )

    def logits(self, rows):
        return rows.index_fill(-1, torch.tensor(self.mask_id), -torch.inf)


def two_models(**options):
    """A heavy and a light model, which differ in their logits alone."""
    return {name: FakeDenoiser(seed=seed, **options) for name, seed in (("h", 1), ("l", 2))}


def exact_distribution(denoisers, schedule, length, prefix=()):
    """{tokens: probability}, enumerated from the definition: at step i each masked position unmasks
    with probability 1/i and is then drawn from the step's model.
    """
    mask_id = next(iter(denoisers.values())).mask_id
    states = {tuple(prefix) + (mask_id,) * (length - len(prefix)): 1.0}
    steps = schedule.steps
    for i, name in zip(range(steps, 0, -1), reversed(schedule.by_step())):
        after = {}
        for z, mass in states.items():
            model = denoisers[name]
            p = (
                model.logits(model.hidden(torch.tensor([z]), torch.tensor([i / steps]))[0])
                .softmax(-1)
                .numpy()
            )
            masked = [j for j in range(length) if z[j] == mask_id]
            for chosen in itertools.product((False, True), repeat=len(masked)):
                weight = mass
                for flag in chosen:
                    weight *= 1 / i if flag else 1 - 1 / i
                if weight == 0:
                    continue
                unmasking = [j for j, flag in zip(masked, chosen) if flag]
                for tokens in itertools.product(range(mask_id), repeat=len(unmasking)):
                    new, w = list(z), weight
                    for j, token in zip(unmasking, tokens):
                        new[j], w = token, w * p[j, token]
                    after[tuple(new)] = after.get(tuple(new), 0.0) + w
        states = after
    return states


def observed_and_expected(denoisers, schedule, length, n, prefix=(), draw=sampler.sample):
    """How often each outcome was drawn among n samples, and its expected number."""
    given = torch.tensor(prefix) if prefix else None
    drawn = draw(denoisers, schedule, range(n), length, seed=5, prefix=given, batch_size=64)
    exact = exact_distribution(denoisers, schedule, length, prefix)
    return observed(drawn, exact)


def chi_square(observed, expected):
    """p-value of the chi-square test, with cells of small expectation joined."""
    small = expected < 5
    if small.any():
        observed = np.append(observed[~small], observed[small].sum())
        expected = np.append(expected[~small], expected[small].sum())
    return stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue


def zstd(content: bytes) -> bytes:
    """A frame of Zstandard."""
    import pyarrow  # which comes with `datasets`

    return pyarrow.Codec("zstd").compress(content, asbytes=True)


def jsonl(path, texts):
    """A JSON Lines file with a row of {"text": ...} for each text."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return path
