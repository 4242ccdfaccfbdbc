"""The exhaustive search: every coarse schedule, sampled under common random numbers.

Coarse schedules cut the trajectory into equal segments, a fixed number of them light. Those that
begin alike share that part of the trajectory: of 210 schedules of ten segments, four of them light,
790 segments run instead of 2100."""

import itertools
from dataclasses import dataclass
from math import comb

import numpy as np
import torch

from stepimp.curves.measure import rounded
from stepimp.processes import Processes
from stepimp.results import Kept
from stepimp.sampling import sampler
from stepimp.schedules.schedule import Schedule
from stepimp.search.elimination import Race


@dataclass(frozen=True)
class Coarse:
    """All schedules of `segments` equal parts of T steps, `light_segments` of them light.

    A schedule's name has a letter per segment, H or L, the start of sampling first: LHHHHHHLLL.
    Where T is no multiple of the segments their edges are rounded."""

    heavy: str
    light: str
    steps: int
    segments: int = 10
    light_segments: int = 4

    def __len__(self) -> int:
        return comb(self.segments, self.light_segments)

    @property
    def edges(self) -> list[int]:
        """[segments + 1] steps done before each segment, and at the end."""
        return [round(k * self.steps / self.segments) for k in range(self.segments + 1)]

    def names(self) -> list[str]:
        """All of them, in alphabetical order: those that begin alike stand together."""
        chosen = itertools.combinations(range(self.segments), self.light_segments)
        return sorted(
            "".join("L" if k in light else "H" for k in range(self.segments)) for light in chosen
        )

    def model(self, letter: str) -> str:
        return {"H": self.heavy, "L": self.light}[letter]

    def schedule(self, name: str) -> Schedule:
        widths = [after - before for before, after in itertools.pairwise(self.edges)]
        return Schedule.of(
            self.model(letter) for letter, width in zip(name, widths) for _ in range(width)
        )


def segment_runs(names) -> int:
    """How many segments run when schedules that begin alike share their beginnings."""
    return len({name[:depth] for name in names for depth in range(1, len(name) + 1)})


def walk(names: list[str], state: sampler.State, coarse: Coarse, advance, depth: int = 0):
    """(name, tokens [N, L]) of each schedule, depth first, so that few states are kept at a time.

    names: sorted, alike in their first `depth` segments, which `state` has behind it. advance:
    called as advance(state, schedule, stop). Always by single segments: whichever schedules are
    asked for, the batches of a schedule are the same."""
    if depth == coarse.segments:
        yield from ((name, state.z) for name in names)
        return
    for letter, group in itertools.groupby(names, key=lambda name: name[depth]):
        branch = state.copy()
        advance(
            branch,
            Schedule(((coarse.model(letter), coarse.steps),)),
            coarse.steps - coarse.edges[depth + 1],
        )
        yield from walk(list(group), branch, coarse, advance, depth + 1)


@torch.no_grad()
def search(
    denoisers: dict,
    coarse: Coarse,
    samples: int,
    length: int,
    *,
    seed: int,
    score,
    batch_size=16,
    chunk=32,
    race: Race | None = None,
    journal=None,
    processes: Processes | None = None,
    counts: sampler.Counts | None = None,
    progress=lambda done, total: None,
):
    """Draws samples 0..samples-1 with every schedule and scores them.

    score: a function of tokens [N, L] that gives (log-PPL [N], entropy [N]) in nats. chunk: samples
    that go through the tree together. race: after each chunk drops the schedules that are out of
    the running. journal: keeps the scores of a schedule on a chunk as soon as they are there.
    processes: share the schedules among themselves. Returns (log-PPL, entropy), [schedules,
    samples] each in the order of `coarse.names()`, NaN where a schedule was dropped before."""
    journal, processes, counts = (
        journal or Kept(),
        processes or Processes(),
        counts or sampler.Counts(),
    )
    first, running = denoisers[coarse.heavy], coarse.names()
    sampler.check(denoisers, coarse.schedule(running[0]), length)
    device, done = first.head()[0].device, processes.gather(journal.done)
    starts = range(0, samples, chunk)
    level = race and race.level(len(running), looks=len(starts) - 1)

    def advance(state, schedule, stop):
        for _ in sampler.advance(
            state, denoisers, schedule, stop, seed=seed, batch_size=batch_size, counts=counts
        ):
            pass

    for chunks_left, start in zip(reversed(range(len(starts))), starts):
        stop = min(start + chunk, samples)
        left = [name for name in running if unit(name, start, stop) not in done]
        before, mine = len(done), processes.part(left)
        planned = before + len(left) + len(running) * chunks_left
        state = sampler.begin(
            range(start, stop),
            length,
            coarse.steps,
            first.mask_id,
            seed,
            device=device,
            frame=first.frame,
        )
        for finished, (name, tokens) in enumerate(walk(mine, state, coarse, advance), 1):
            log_ppl, entropy = score(tokens)
            journal.add(
                unit(name, start, stop), {"log_ppl": rounded(log_ppl), "entropy": rounded(entropy)}
            )
            progress(min(before + finished * processes.count, planned), planned)
        done = processes.gather(journal.done)
        if race and chunks_left:
            log_ppl, _ = tables(running, done, stop, chunk)
            running = [
                name for name, stays in zip(running, race.running(np.exp(log_ppl), level)) if stays
            ]
    return tables(coarse.names(), done, samples, chunk)


def unit(name: str, start: int, stop: int) -> str:
    """What the journal calls a schedule's scores on a chunk."""
    return f"{name}:{start}:{stop}"


def tables(names: list[str], done: dict, samples: int, chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """(log-PPL, entropy), [names, samples] each, from finished units; NaN where there is none."""
    found = np.full((2, len(names), samples), np.nan)
    for row, name in enumerate(names):
        for start in range(0, samples, chunk):
            stop = min(start + chunk, samples)
            if scores := done.get(unit(name, start, stop)):
                found[:, row, start:stop] = scores["log_ppl"], scores["entropy"]
    return found[0], found[1]
