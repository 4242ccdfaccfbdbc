"""How much a command runs, by its sizes alone: forward passes, and rows of the projection.

Counts of the curves are exact but for how many positions are masked, those of sampling are expected
values over the steps at which positions unmask.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from stepimp.noise import NoiseSchedule
from stepimp.schedules.schedule import Schedule
from stepimp.search.coarse import Coarse

BYTES_PER_NUMBER = 11  # of a journal or a results document, with eight digits and a comma
BYTES_PER_TOKEN = 10  # of a file of samples: its id, and its text


@dataclass
class Work:
    """What a command runs."""

    length: int
    """Tokens per sequence."""
    batch_size: int
    """Sequences per forward pass, at most."""
    forwards: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """model -> sequences that go through its body."""
    rows: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """model -> positions at which it is asked for a distribution."""
    drawn: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """model -> those of its forward passes that draw tokens of samples."""
    inputs: float = 0
    """Corrupted sequences that go through all models, of curves."""
    together: int = 0
    """Samples that are drawn at the same time."""
    texts: float = 0
    """Texts that the judge scores."""
    bytes: float = 0
    """On disk."""

    @property
    def models(self) -> list[str]:
        """The models that run."""
        return list(self.forwards)

    def add(self, other: "Work"):
        """Runs what another one runs as well. Passes over other lengths count by their tokens."""
        share = other.length / self.length
        for mine, theirs in (
            (self.forwards, other.forwards),
            (self.drawn, other.drawn),
        ):
            for model, count in theirs.items():
                mine[model] += share * count
        for model, count in other.rows.items():
            self.rows[model] += count
        self.inputs, self.texts = self.inputs + share * other.inputs, self.texts + other.texts
        self.together = max(self.together, other.together)
        self.bytes += other.bytes

    def repeated(self, times: int) -> "Work":
        """This work several times, one after the other."""
        for counts in (self.forwards, self.rows, self.drawn):
            for model in counts:
                counts[model] *= times
        self.inputs, self.texts, self.bytes = (
            times * count for count in (self.inputs, self.texts, self.bytes)
        )
        return self

    def flops(self, costs: dict[str, tuple[float, float]]) -> float:
        """FLOPs of the bodies and projections. costs: model -> `Denoiser.flops`."""
        return sum(
            self.forwards[model] * costs[model][0] + self.rows[model] * costs[model][1]
            for model in self.models
        )

    def block_tokens(self, blocks: dict[str, int]) -> float:
        """Tokens times the blocks that they go through. blocks: of each model."""
        return self.length * sum(count * blocks[model] for model, count in self.forwards.items())


def curves_work(
    models: Sequence[str],
    sequences: int,
    repeats: int,
    points: int,
    length: int,
    batch_size: int,
) -> Work:
    """The work of `curves.measure.measure`. models: heavy, light ones and baseline."""
    work, noise = Work(length, min(batch_size, sequences)), NoiseSchedule()
    chunks = -(-sequences // batch_size) * repeats
    masked = [noise.masked(k / points) for k in range(1, points + 1)]
    # At t = 1 all inputs are equal where everything is masked, and one serves for all of a chunk.
    inputs = [chunks if share == 1 else sequences * repeats for share in masked]
    for model in models:
        work.forwards[model] = sum(inputs)
        work.rows[model] = sum(length * share * count for share, count in zip(masked, inputs))
    work.inputs = sum(count for count, share in zip(inputs, masked) if share < 1)
    numbers = 2 * len(models) + 1
    work.bytes = sequences * repeats * points * numbers * BYTES_PER_NUMBER
    return work


def segment_forwards(start: int, stop: int, steps: int, masked: int) -> tuple[float, float]:
    """Expected steps from the start-th to before the stop-th of `steps` at which some of `masked`
    positions unmask; and the probability that the first such step is among them.
    """
    events = (stop - start) * (1 - (1 - 1 / steps) ** masked)
    none_before = [(1 - edge / steps) ** masked for edge in (start, stop)]
    return events, none_before[0] - none_before[1]


def sampling_work(
    schedules: Iterable[Schedule],
    samples: int,
    length: int,
    masked: int,
    batch_size: int,
    together: int,
    shared_start: bool = True,
) -> Work:
    """The work of drawing the samples with each schedule.

    masked: positions that are drawn, of the length; together: samples per call of the sampler.
    shared_start: whether all samples begin with the same tokens, so that the first event of each
    costs no forward pass but one for all.
    """
    work = Work(length, min(batch_size, samples), together=min(together, samples))
    for schedule in schedules:
        start = 0
        for model, count in schedule.segments:
            events, first = segment_forwards(start, start + count, schedule.steps, masked)
            add_events(work, model, samples, events, first if shared_start else 0.0)
            work.rows[model] += samples * masked * count / schedule.steps
            start += count
        work.bytes += samples * length * BYTES_PER_TOKEN
    return work


def add_events(work: Work, model: str, samples: int, events: float, first: float):
    """Counts the events of samples; first: the probability that one is a sample's first, which
    needs a forward pass once for all that are drawn together.
    """
    calls = -(-samples // work.together)
    starts = calls * (1 - (1 - first) ** work.together)
    work.forwards[model] += samples * (events - first) + starts
    work.drawn[model] += samples * (events - first) + starts


def search_work(coarse: Coarse, samples: int, length: int, batch_size: int, chunk: int) -> Work:
    """The work of `search.exhaustive.search` without elimination: schedules share the segments that
    they begin with.
    """
    names = coarse.names()
    together = min(chunk, samples)
    work = Work(length, min(batch_size, together), together=together)
    prefixes = {name[:depth] for name in names for depth in range(1, coarse.segments + 1)}
    for prefix in sorted(prefixes):
        start, stop = coarse.edges[len(prefix) - 1], coarse.edges[len(prefix)]
        events, first = segment_forwards(start, stop, coarse.steps, length)
        model = coarse.model(prefix[-1])
        add_events(work, model, samples, events, first)
        work.rows[model] += samples * length * (stop - start) / coarse.steps
    work.texts = len(names) * samples
    work.bytes = 2 * work.texts * BYTES_PER_NUMBER
    return work
