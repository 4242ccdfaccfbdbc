"""The exhaustive search: every coarse schedule, sampled under common random numbers.

Schedules that begin with the same segments share that part of the trajectory: of 210 schedules of
ten segments, four of them light, 790 segments run instead of 2100.
"""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import torch

from stepimp.checks import is_array, span
from stepimp.curves.measure import rounded
from stepimp.journals import Check, Journal, MemoryJournal
from stepimp.models.denoiser import Denoiser
from stepimp.processes import Processes
from stepimp.progress import Progress, no_progress
from stepimp.sampling import sampler
from stepimp.schedules.schedule import Schedule
from stepimp.search.coarse import Coarse
from stepimp.search.elimination import Elimination
from stepimp.search.sharing import Unit, split


def walk(
    names: list[str],
    state: sampler.State,
    coarse: Coarse,
    advance: Callable[[sampler.State, Schedule, int], None],
    depth: int = 0,
) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tokens [N, L]) of each schedule, depth first, so that few states exist at a time.

    names: sorted, with the same first `depth` segments, which `state` has behind it. advance:
    called as advance(state, schedule, stop), always for a single segment: whichever schedules are
    searched, the batches of a schedule are the same.
    """
    if depth == coarse.segments:
        yield from ((name, state.z) for name in names)
        return
    for letter, group in itertools.groupby(names, key=lambda name: name[depth]):
        branch = state.copy()
        schedule = Schedule(((coarse.model(letter), coarse.steps),))
        advance(branch, schedule, coarse.steps - coarse.edges[depth + 1])
        yield from walk(list(group), branch, coarse, advance, depth + 1)


@torch.no_grad()
def search(
    denoisers: dict[str, Denoiser],
    coarse: Coarse,
    samples: int,
    length: int,
    *,
    seed: int,
    score: Callable[[torch.Tensor], tuple[np.ndarray, np.ndarray]],
    batch_size: int = 16,
    chunk: int = 32,
    elimination: Elimination | None = None,
    journal: Journal | MemoryJournal | None = None,
    processes: Processes | None = None,
    counts: sampler.Counts | None = None,
    progress: Progress = no_progress,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws samples 0..samples-1 with every schedule and scores them.

    score: (log-PPL [N], entropy [N]) in nats of tokens [N, L]. chunk: samples that go through the
    tree together. elimination: after each chunk drops the schedules that are not among the best.
    journal: keeps the scores of each schedule on each chunk. processes: share the schedules.
    counts: updated with what this process ran. Returns (log-PPL, entropy), [schedules, samples]
    each in the order of `coarse.names()`, NaN for samples of a schedule that was dropped before.
    Raises StepimpError for a length that cannot be sampled.
    """
    journal, processes = journal or MemoryJournal(), processes or Processes()
    counts = counts or sampler.Counts()
    first, running = denoisers[coarse.heavy], coarse.names()
    sampler.check(denoisers, coarse.schedule(running[0]), length)
    device, done = first.device, processes.gather(journal.done)
    count, before = processes.counter(), len(done)
    chunks = [(start, min(start + chunk, samples)) for start in range(0, samples, chunk)]
    # Only elimination has to wait for all processes after each chunk.
    rounds = [[each] for each in chunks] if elimination else [chunks]
    level = elimination.level(len(running), looks=len(rounds) - 1) if elimination else 1.0
    costs = {letter: segment_cost(denoisers[coarse.model(letter)], length) for letter in "HL"}

    def advance(state, schedule, stop):
        for _ in sampler.advance(
            state, denoisers, schedule, stop, seed=seed, batch_size=batch_size, counts=counts
        ):
            pass

    for rounds_left, together in zip(reversed(range(len(rounds))), rounds):
        units = [Unit(start, stop, name) for start, stop in together for name in running]
        missing = [unit for unit in units if unit.key not in done]
        planned = len(done) + len(missing) + len(running) * rounds_left
        part = split(missing, processes.count, costs)[processes.rank]
        if missing:
            progress(len(done), planned)
        for (start, stop), group in itertools.groupby(part, key=lambda unit: unit[:2]):
            state = sampler.begin(
                range(start, stop),
                length,
                coarse.steps,
                first.mask_id,
                seed,
                device=device,
                frame=first.frame,
            )
            for name, tokens in walk([unit.name for unit in group], state, coarse, advance):
                log_ppl, entropy = score(tokens)
                scores = {"log_ppl": rounded(log_ppl), "entropy": rounded(entropy)}
                journal.add(Unit(start, stop, name).key, scores)
                progress(before + count(1), planned)
        done = processes.gather(journal.done)
        if elimination and rounds_left:
            log_ppl, _ = tables(running, done, together[-1][1], chunk)
            stays = elimination.running(np.exp(log_ppl), level)
            running = list(itertools.compress(running, stays))
    return tables(coarse.names(), done, samples, chunk)


def segment_cost(denoiser: Denoiser, length: int) -> int:
    """What a sample costs in a segment, about: all blocks, and as much as one more for the
    projection and the draws.
    """
    return round((denoiser.blocks + 1) * denoiser.block_flops(length))


def score_check(coarse: Coarse) -> Check:
    """The check of a journal of `search`. A log-PPL may be infinite."""
    names = set(coarse.names())

    def check(unit: str, result) -> str:
        name, _, chunk = unit.partition(":")
        shape = (span(chunk),)
        if name not in names or not shape[0]:
            return f"unit {unit} is not a schedule on a chunk of samples"
        whole = (
            isinstance(result, dict)
            and is_array(result.get("log_ppl"), shape, lambda value: isinstance(value, float))
            and is_array(result.get("entropy"), shape)
        )
        return "" if whole else f"unit {unit} does not hold the scores of {shape[0]} samples"

    return check


def tables(names: list[str], done: dict, samples: int, chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """(log-PPL, entropy), [names, samples] each, from finished units; NaN for missing ones."""
    log_ppl, entropy = np.full((2, len(names), samples), np.nan)
    for row, name in enumerate(names):
        for start in range(0, samples, chunk):
            stop = min(start + chunk, samples)
            if scores := done.get(Unit(start, stop, name).key):
                log_ppl[row, start:stop] = scores["log_ppl"]
                entropy[row, start:stop] = scores["entropy"]
    return log_ppl, entropy
