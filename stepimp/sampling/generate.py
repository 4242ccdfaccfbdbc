"""Text with a schedule: samples from a sampler, kept in a journal as they finish, and decoded."""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

import torch

from stepimp.checks import is_array, is_text, is_whole
from stepimp.errors import StepimpError
from stepimp.journals import Check, Journal
from stepimp.models.loading import Family
from stepimp.processes import Processes
from stepimp.sampling import mdlm_sampler, sampler
from stepimp.schedules.schedule import Schedule

FRAMES = 100  # how often a watched sample is shown
GROUP = 2  # batches that one process draws together; twice as many keep batches as full


def encode_prefix(tokenizer, text: str) -> torch.Tensor | None:
    """[P] tokens of a prefix, None if it is empty.

    Raises StepimpError for bytes that are not UTF-8, which Python keeps as half a surrogate pair.
    """
    if not is_text(text):
        raise StepimpError(f"The prefix {ascii(text)} is not UTF-8 text.")
    return torch.tensor(tokenizer(text, add_special_tokens=False).input_ids) if text else None


@torch.no_grad()
def generate(
    family: Family,
    schedule: Schedule,
    samples: int,
    length: int,
    *,
    seed: int,
    journal: Journal,
    prefix: str = "",
    precision: str = "exact",
    batch_size: int = 16,
    watch: Callable[[int, str, list[int]], None] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[dict], sampler.Counts]:
    """Draws those of the samples 0..samples-1 that are not in the journal yet.

    precision: "exact", or "mdlm" for the MDLM repository's sampler. watch: called as watch(step,
    model, tokens) while sample 0 denoises. Returns {"index", "tokens", "text"} of each sample, by
    index, and the counts of what was drawn in this call.
    """
    prefix_tokens = encode_prefix(family.tokenizer, prefix)
    sampler.check(family.denoisers, schedule, length, prefix_tokens)
    counts = sampler.Counts()
    processes = Processes()
    done = processes.gather(journal.done)
    if watch and "0" not in done and processes.rank == 0:
        journal.add("0", draw_watched(family, schedule, length, seed, prefix_tokens, counts, watch))
    done = processes.gather(journal.done)
    missing = [i for i in range(samples) if str(i) not in done]
    to_draw = len(missing) * drawn_tokens(family, length, prefix_tokens)
    draw = {"exact": draw_exact, "mdlm": draw_mdlm}[precision]
    count, before = processes.counter(), counts.tokens.total()
    for group in processes.share(groups(missing, GROUP * batch_size)):
        arguments = (family, schedule, group, length, seed, prefix_tokens, batch_size, counts)
        for index, tokens in draw(*arguments):
            journal.add(str(index), tokens)
            progress(count(counts.tokens.total() - before), to_draw)
            before = counts.tokens.total()
    done = processes.gather(journal.done)
    counts = summed(processes.gather({processes.rank: counts}).values())
    texts = []
    for index in range(samples):
        tokens = done[str(index)]
        (text,) = family.decode([tokens])
        texts.append({"index": index, "tokens": tokens, "text": text})
    return texts, counts


def tokens_check(length: int, vocabulary: int) -> Check:
    """The check of a journal that keeps the tokens of each sample."""

    def check(unit: str, tokens) -> str:
        if not unit.isdecimal() or not is_array(tokens, (length,), is_id(vocabulary)):
            return f"sample {unit} is not {length} token ids below {vocabulary}"
        return ""

    return check


def is_id(vocabulary: int) -> Callable[[Any], bool]:
    """Whether a value is a token id."""
    return lambda token: is_whole(token) and 0 <= token < vocabulary


def groups(indices: list[int], size: int) -> list[list[int]]:
    """Samples that are drawn together, the same ones for any number of processes."""
    together = groupby(indices, key=lambda index: index // size)
    return [list(group) for _, group in together]


def summed(parts: Iterable[sampler.Counts]) -> sampler.Counts:
    """What all processes have run."""
    counts = sampler.Counts()
    for part in parts:
        counts.forwards.update(part.forwards)
        counts.tokens.update(part.tokens)
        counts.batches += part.batches
    return counts


def drawn_tokens(family: Family, length: int, prefix: torch.Tensor | None) -> int:
    """Tokens of a sample that are not those of its prefix or frame."""
    return length - sum(map(len, family.any.frame)) - (0 if prefix is None else len(prefix))


def draw_exact(
    family, schedule, indices, length, seed, prefix, batch_size, counts
) -> Iterator[tuple[int, list[int]]]:
    """(index, tokens) of each sample when it is finished."""
    model = family.any
    state = sampler.begin(
        indices, length, schedule.steps, model.mask_id, seed, prefix, model.device, model.frame
    )
    for row in sampler.advance(
        state, family.denoisers, schedule, seed=seed, batch_size=batch_size, counts=counts
    ):
        yield indices[row], state.z[row].tolist()


def draw_mdlm(
    family, schedule, indices, length, seed, prefix, batch_size, counts
) -> Iterator[tuple[int, list[int]]]:
    """(index, tokens) from the MDLM repository's sampler, batch by batch."""
    for start in range(0, len(indices), batch_size):
        batch = indices[start : start + batch_size]
        tokens = mdlm_sampler.sample(
            family.denoisers, schedule, batch, length, seed=seed, prefix=prefix, counts=counts
        )
        counts.tokens["all models"] += len(batch) * drawn_tokens(family, length, prefix)
        yield from zip(batch, tokens.tolist())


def draw_watched(family, schedule, length, seed, prefix, counts, watch) -> list[int]:
    """Tokens of sample 0, drawn in FRAMES parts and shown after each."""
    model, names = family.any, schedule.by_step()
    state = sampler.begin(
        [0], length, schedule.steps, model.mask_id, seed, prefix, model.device, model.frame
    )
    while state.clock:
        name = names[state.clock - 1]
        stop = max(0, state.clock - max(1, schedule.steps // FRAMES))
        list(sampler.advance(state, family.denoisers, schedule, stop, seed=seed, counts=counts))
        watch(stop, name, state.z[0].tolist())
    return state.z[0].tolist()


def masked_runs(tokens: list[int], mask_id: int) -> list[tuple[bool, list[int]]]:
    """(whether masked, tokens) of each run of masked or unmasked positions."""
    runs = groupby(tokens, key=lambda token: token == mask_id)
    return [(masked, list(run)) for masked, run in runs]
