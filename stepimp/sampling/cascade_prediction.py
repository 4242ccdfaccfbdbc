"""What an entropy cascade will cost and lose, from held-out corruptions and without sampling.

Each event of a cascade draws at positions A chosen without the logits, from the model that the
state and A decide on. So, with q the corruption and z the state when the event begins,

  NELBO   = sum over events of E_q E_A [sum over l in A of -log p_k(x_l | z)],  k = k(z, A),
  path KL = sum over events of E_q E_A [sum over l in A of KL(p_H(. | z) || p_k(. | z))].

Given z at step i, the masked positions have the steps 1..i with equal probability, so that the
positions of each step j <= i are as likely to be the A of step i as those of i itself: all of them
are averaged. One pass of both models at a state serves every threshold.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stepimp import randomness
from stepimp.checks import is_array, is_whole, span
from stepimp.curves.inputs import Inputs
from stepimp.curves.measure import masked_positions
from stepimp.errors import StepimpError
from stepimp.journals import Check, MemoryJournal
from stepimp.kernels.statistics import vocabulary_statistics
from stepimp.models.denoiser import Denoiser
from stepimp.processes import Processes
from stepimp.progress import Progress, no_progress
from stepimp.sampling.state import one_by_one

COLUMNS = ("stratum", "weight", "entropy", "ce_light", "ce_heavy", "kl_light")


@dataclass(frozen=True)
class HeldOutEvents:
    """E events on held-out text, each weighted by how often it happens in one sample."""

    sequence: np.ndarray
    """[E] which of the N sequences each is of."""
    stratum: np.ndarray
    """[E] part of the trajectory, 0 at its start."""
    weight: np.ndarray
    """[E] expected number of such events in a sample of that sequence."""
    entropy: np.ndarray
    """[E] mean entropy in nats of the light model at the event's positions."""
    ce_light: np.ndarray
    """[E] sum over the positions of -log p of the light model at the clean token."""
    ce_heavy: np.ndarray
    """[E] sum over the positions of -log p of the heavy model at the clean token."""
    kl_light: np.ndarray
    """[E] sum over the positions of KL(heavy || light)."""
    tokens: np.ndarray
    """[N] positions of each sequence that a sampler would draw."""

    def sums(self, values: np.ndarray) -> np.ndarray:
        """[N] expected sum of the events' values over one sample. values: [E]."""
        return np.bincount(self.sequence, self.weight * values, minlength=len(self.tokens))

    def predicted(self, heavy: np.ndarray) -> dict[str, np.ndarray]:
        """[N] sums of a sample of each sequence, in nats, if the events `heavy` [E] are drawn by
        the heavy model: "nelbo", "path_kl", and the number of events that it draws, "heavy".
        """
        return {
            "nelbo": self.sums(np.where(heavy, self.ce_heavy, self.ce_light)),
            "path_kl": self.sums(np.where(heavy, 0.0, self.kl_light)),
            "heavy": self.sums(heavy.astype(float)),
        }

    def threshold(self, share: float) -> float:
        """The least threshold at which at most this share of the events is escalated."""
        order = np.argsort(-self.entropy, kind="stable")
        escalated = np.cumsum(self.weight[order]) / self.weight.sum()
        within = int(np.searchsorted(escalated, share + 1e-12, side="right"))
        return float(self.entropy[order[within]]) if within < len(order) else 0.0


@torch.no_grad()
def measure_events(
    denoisers: dict[str, Denoiser],
    heavy: str,
    light: str,
    inputs: Inputs,
    steps: int | None,
    *,
    strata: int,
    seed: int,
    batch_size: int = 32,
    journal=None,
    progress: Progress = no_progress,
) -> HeldOutEvents:
    """Runs both models on states of held-out text, one in each stratum of each sequence's steps.

    steps: T of ancestral sampling, None for first-hitting. strata: parts of equal length that the
    steps are cut into; as many as steps, or more, takes every step. journal: keeps finished chunks.
    Raises StepimpError where the text has nothing to mask.
    """
    journal, models = journal or MemoryJournal(), (denoisers[heavy], denoisers[light])
    chunks = [
        (start, min(start + batch_size, len(inputs))) for start in range(0, len(inputs), batch_size)
    ]
    done = Processes().finish_units(
        {f"{start}:{stop}": (start, stop) for start, stop in chunks},
        lambda chunk: measured_chunk(models, inputs, *chunk, steps, strata, seed),
        journal,
        lambda finished, _: progress(min(finished * batch_size, len(inputs)), len(inputs)),
    )
    return assembled(list(done.values()))


def chunk_check(strata: int) -> Check:
    """The check of a journal that keeps results of `measured_chunk`.

    strata: parts of the trajectory, or more than there are.
    """

    def check(unit: str, chunk) -> str:
        lists = isinstance(chunk, dict) and isinstance(chunk.get("weight"), list)
        if not (lists and span(unit)):
            return f"{unit} is not a whole chunk of events"
        start, stop = map(int, unit.split(":"))
        events = (len(chunk["weight"]),)
        whole = (
            chunk.get("start") == start
            and is_array(chunk.get("tokens"), (stop - start,), within(0, 2**63))
            and is_array(chunk.get("sequence"), events, within(start, stop))
            and is_array(chunk.get("stratum"), events, within(0, strata))
            and all(is_array(chunk.get(name), events) for name in COLUMNS)
        )
        return "" if whole else f"{unit} is not a whole chunk of events"

    return check


def within(least: int, end: int) -> Callable[[Any], bool]:
    """Whether a value is an integer of this range, without its end."""
    return lambda value: is_whole(value) and least <= value < end


def assembled(chunks: list[dict]) -> HeldOutEvents:
    """Joins the chunks of sequences in their order."""
    chunks = sorted(chunks, key=lambda chunk: chunk["start"])
    columns = {
        name: np.concatenate([np.asarray(chunk[name], dtype=float) for chunk in chunks])
        for name in COLUMNS
    }
    columns["stratum"] = columns["stratum"].astype(int)
    sequence = [np.asarray(chunk["sequence"], dtype=int) for chunk in chunks]
    tokens = np.concatenate([np.asarray(chunk["tokens"], dtype=int) for chunk in chunks])
    if not len(columns["weight"]):
        raise StepimpError("The text has no token that is ever masked.")
    return HeldOutEvents(np.concatenate(sequence), **columns, tokens=tokens)


def measured_chunk(models, inputs: Inputs, start, stop, steps, strata, seed) -> dict:
    """The columns of `HeldOutEvents` for the sequences start to stop - 1, as lists."""
    tokens, uniforms = inputs.draw(start, stop, 0)
    uniforms = uniforms.numpy()
    maskable = uniforms < 1
    rank, times = one_by_one(uniforms, maskable)
    counts = maskable.sum(1)
    totals = counts if steps is None else np.full(len(counts), steps)
    unmask_step = rank
    if steps is not None:
        unmask_step = np.where(maskable, 1 + (uniforms * steps).astype(np.int64), 0)
    parts: dict[str, list] = {name: [] for name in ("sequence", *COLUMNS)}
    chosen = [
        stratified_steps(int(total), strata, seed, start + i) for i, total in enumerate(totals)
    ]
    for k in range(max(map(len, chosen))):
        rows = [i for i, each in enumerate(chosen) if k < len(each)]
        at = np.array([chosen[i][k] for i in rows])
        masked = (unmask_step[rows] > 0) & (unmask_step[rows] <= at[:, None])
        time = at / totals[rows] if steps is not None else times[rows, at - 1]
        statistics = position_statistics(models, tokens[rows], masked, time)
        for r, (i, step) in enumerate(zip(rows, at)):
            events = event_statistics(unmask_step[i] * masked[r], statistics[:, r])
            weight = totals[i] / len(chosen[i]) / step
            for name, column in zip(parts, (start + i, k, weight, *events)):
                parts[name].append(np.broadcast_to(column, len(events[0])))
    flat = {
        name: np.concatenate(columns).tolist() if columns else [] for name, columns in parts.items()
    }
    return {**flat, "start": start, "tokens": counts.tolist()}


def event_statistics(unmask_step: np.ndarray, statistics: np.ndarray) -> list[np.ndarray]:
    """[E] each, for the E events of one state: the mean entropy, and the sums of the others.

    unmask_step: [L], 0 at positions that are not masked; statistics: [4, L], as of
    `position_statistics`.
    """
    positions = np.flatnonzero(unmask_step)
    steps = unmask_step[positions]
    _, event, sizes = np.unique(steps, return_inverse=True, return_counts=True)
    entropy, *sums = (np.bincount(event, values[positions]) for values in statistics)
    return [entropy / sizes, *sums]


def stratified_steps(total: int, strata: int, seed: int, sequence: int) -> list[int]:
    """Steps of 1..total, the start of sampling first: all, or one drawn in each stratum."""
    if strata >= total:
        return list(range(total, 0, -1))
    draws = randomness.generator(seed, randomness.EVENT, sequence).random(strata)
    return (total - ((np.arange(strata) + draws) / strata * total).astype(int)).tolist()


def position_statistics(models, tokens, masked: np.ndarray, time: np.ndarray):
    """[B, L] each at the masked positions, 0 elsewhere: the light model's entropy and -log p of the
    clean token, the heavy model's -log p, and KL(heavy || light).

    models: heavy and light; tokens, masked: [B, L]; time: [B].
    """
    heavy, light = models
    on_device = torch.from_numpy(masked).to(heavy.device)
    tokens, clock = tokens.to(heavy.device), torch.from_numpy(np.asarray(time, float))
    clock = clock.to(heavy.device)
    at, is_masked = masked_positions(on_device)
    z = tokens.masked_fill(on_device, heavy.mask_id)
    rows = [model.hidden(z, clock, at)[is_masked] for model in models]
    heads, targets = [model.head() for model in models], tokens[on_device]
    ce, kl, _ = vocabulary_statistics(rows, heads, targets, heavy.mask_id)
    _, _, entropy = vocabulary_statistics(rows[1:], heads[1:], targets, heavy.mask_id)
    whole = np.zeros((4, *masked.shape))
    for place, values in zip(whole, (entropy, ce[1], ce[0], kl[1])):
        place[masked] = values.cpu().numpy()
    return whole
