"""Text by a policy: samples from a sampler, kept in a journal as they finish, and decoded."""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

import torch

from stepimp.checks import is_array, is_whole
from stepimp.errors import StepimpError
from stepimp.journals import Check, Journal
from stepimp.models.loading import Family
from stepimp.processes import Processes
from stepimp.progress import Progress, no_progress
from stepimp.sampling import mdlm_sampler
from stepimp.sampling.policies import Policy, draw
from stepimp.sampling.state import Counts, check
from stepimp.schedules.schedule import Schedule

FRAMES = 100  # how often a watched sample is shown
GROUP = 2  # batches that one process draws together; twice as many keep batches as full
Watch = Callable[[int, str, list[int]], None]


@torch.no_grad()
def generate(
    family: Family,
    policy: Policy,
    prompts: list[torch.Tensor],
    samples: int,
    *,
    seed: int,
    journal: Journal,
    precision: str = "exact",
    batch_size: int = 16,
    watch: Watch | None = None,
    progress: Progress = no_progress,
) -> tuple[list[dict], Counts]:
    """Draws those of the samples that are not in the journal yet: sample i of prompt j has the
    index j * samples + i.

    prompts: tokens of each, with the mask token where they are to be drawn, without the special
    tokens around a text. precision: "exact", or "mdlm" for the MDLM repository's sampler. watch:
    called as watch(masked, model, tokens) while sample 0 denoises. Returns {"index", "tokens",
    "text"} of each sample, with several prompts also {"prompt": j}, and the counts of what was
    drawn in this call. Raises StepimpError for what cannot be sampled.
    """
    for tokens in prompts:
        check(family.denoisers, policy.schedule, len(tokens) + family.around, tokens)
    counts, processes = Counts(), Processes()
    done = processes.gather(journal.done)
    if watch and "0" not in done and processes.rank == 0:
        journal.add("0", draw_watched(family, policy, prompts[0], seed, counts, watch))
    done = processes.gather(journal.done)
    indices = range(len(prompts) * samples)
    missing = [index for index in indices if str(index) not in done]
    to_draw = sum(int((prompts[i // samples] == family.any.mask_id).sum()) for i in missing)
    count, before = processes.counter(), counts.tokens.total()
    if missing:
        progress(0, to_draw)
    source = {"exact": draw_exact, "mdlm": draw_mdlm}[precision]

    def length(index: int) -> int:
        return len(prompts[index // samples])

    for same in processes.share(groups(missing, length, GROUP * batch_size)):
        # Samples of one prompt begin with the same tokens, and share what a model says of them.
        given = prompts[same[0] // samples]
        if len({index // samples for index in same}) > 1:
            given = torch.stack([prompts[index // samples] for index in same])
        size = length(same[0]) + family.around
        arguments = (family, policy, same, size, seed, given, batch_size, counts)
        for place, tokens in source(*arguments):
            journal.add(str(same[place]), tokens)
            progress(min(count(counts.tokens.total() - before), to_draw), to_draw)
            before = counts.tokens.total()
    done = processes.gather(journal.done)
    counts = summed(processes.gather({processes.rank: counts}).values())
    texts = []
    for index in indices:
        tokens = done[str(index)]
        (text,) = family.decode([tokens])
        row = {"index": index, "tokens": tokens, "text": text}
        texts.append(row | ({"prompt": index // samples} if len(prompts) > 1 else {}))
    return texts, counts


def tokens_check(lengths: list[int], vocabulary: int) -> Check:
    """The check of a journal that keeps the tokens of each sample. lengths: of each sample."""

    def check(unit: str, tokens) -> str:
        index = int(unit) if unit.isdecimal() else len(lengths)
        if index >= len(lengths):
            return f"there is no sample {unit}"
        if not is_array(tokens, (lengths[index],), is_id(vocabulary)):
            return f"sample {unit} is not {lengths[index]} token ids below {vocabulary}"
        return ""

    return check


def is_id(vocabulary: int) -> Callable[[Any], bool]:
    """Whether a value is a token id."""
    return lambda token: is_whole(token) and 0 <= token < vocabulary


def groups(indices: list[int], length: Callable[[int], int], size: int) -> list[list[int]]:
    """Samples that are drawn together, at most `size` of one length: the same ones for any number
    of processes.
    """
    together = []
    for _, group in groupby(sorted(indices, key=length), key=length):
        same = list(group)
        together += [same[start : start + size] for start in range(0, len(same), size)]
    return together


def summed(parts: Iterable[Counts]) -> Counts:
    """What all processes have run."""
    counts = Counts()
    for part in parts:
        for name in ("forwards", "tokens", "projected", "sequential"):
            getattr(counts, name).update(getattr(part, name))
        counts.batches += part.batches
    return counts


def draw_exact(
    family, policy, indices, length, seed, given, batch_size, counts
) -> Iterator[tuple[int, list[int]]]:
    """(place in `indices`, tokens) of each sample when it is finished."""
    options = dict(seed=seed, prefix=given, batch_size=batch_size, counts=counts)
    for place, tokens in draw(family.denoisers, policy, indices, length, **options):
        yield place, tokens.tolist()


def draw_mdlm(
    family, policy, indices, length, seed, given, batch_size, counts
) -> Iterator[tuple[int, list[int]]]:
    """(place in `indices`, tokens) from the MDLM repository's sampler, batch by batch."""
    if policy != Policy(policy.schedule) or not isinstance(policy.schedule, Schedule):
        raise StepimpError(
            "The published sampler takes a schedule over steps and nothing else: leave out its "
            "precision."
        )
    for start in range(0, len(indices), batch_size):
        batch = range(len(indices))[start : start + batch_size]
        prefix = given if given.ndim == 1 else given[start : start + batch_size]
        tokens = mdlm_sampler.sample(
            family.denoisers,
            policy.schedule,
            [indices[place] for place in batch],
            length,
            seed=seed,
            prefix=prefix,
            counts=counts,
        )
        drawn = (prefix == family.any.mask_id).sum(-1).expand(len(batch))
        counts.tokens["all models"] += int(drawn.sum())
        yield from zip(batch, tokens.tolist())


def draw_watched(
    family: Family, policy: Policy, given: torch.Tensor, seed: int, counts: Counts, watch: Watch
) -> list[int]:
    """Tokens of sample 0, shown about FRAMES times on their way."""
    mask_id = family.any.mask_id
    length = len(given) + family.around
    state = policy.begin(family.denoisers, [0], length, seed, given)
    runner = policy.runner(state, family.denoisers, seed, counts)
    masked = total = int((state.z == mask_id).sum())
    shown = masked
    runner.enter(0)
    while runner.left(0):
        name = runner.model(0)
        runner.run(name, [0])
        masked = int((state.z == mask_id).sum())
        if shown - masked >= max(1, total // FRAMES) or not runner.left(0):
            shown = masked
            watch(masked, name, state.z[0].tolist())
    return state.z[0].tolist()


def masked_runs(tokens: list[int], mask_id: int) -> list[tuple[bool, list[int]]]:
    """(whether masked, tokens) of each run of masked or unmasked positions."""
    runs = groupby(tokens, key=lambda token: token == mask_id)
    return [(masked, list(run)) for masked, run in runs]
