"""Text with a schedule: samples from the sampler, kept in a journal as they finish, and decoded."""

from itertools import groupby

import torch

from stepimp.models.loading import Family
from stepimp.results import Journal
from stepimp.sampling import sampler
from stepimp.sampling.mdlm_sampler import sample_published
from stepimp.schedules.schedule import Schedule

FRAMES = 100  # how often a watched sample is shown


def encode_prefix(tokenizer, text: str) -> torch.Tensor | None:
    """[P] tokens of a prefix, None for none."""
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
    prefix="",
    precision="exact",
    batch_size=16,
    watch=None,
    progress=lambda done, total: None,
):
    """Draws samples 0..samples-1, those that the journal has not, and returns (texts, counts).

    precision: "exact", or "mdlm" for the published sampler. watch: called as watch(step, model,
    tokens) while sample 0 denoises. Texts are {"index", "tokens", "text"} in the order of their
    index; counts say what was drawn now."""
    given = encode_prefix(family.tokenizer, prefix)
    sampler.check(family.denoisers, schedule, length, given)
    counts = sampler.Counts()
    if watch and "0" not in journal.done:
        journal.add("0", watched(family, schedule, length, seed, given, counts, watch))
    left = [i for i in range(samples) if str(i) not in journal.done]
    draw = {"exact": exact, "mdlm": published}[precision]
    before, total = (
        counts.tokens.total(),
        len(left) * (length - (0 if given is None else len(given))),
    )
    for index, tokens in draw(family, schedule, left, length, seed, given, batch_size, counts):
        journal.add(str(index), tokens)
        progress(counts.tokens.total() - before, total)
    drawn = [journal.done[str(i)] for i in range(samples)]
    return [
        {"index": i, "tokens": one, "text": family.tokenizer.decode(one)}
        for i, one in enumerate(drawn)
    ], counts


def exact(family, schedule, indices, length, seed, prefix, batch_size, counts):
    """(index, tokens) of each sample as it finishes."""
    one = family.any
    state = sampler.begin(indices, length, schedule.steps, one.mask_id, seed, prefix, one.device)
    for row in sampler.advance(
        state, family.denoisers, schedule, seed=seed, batch_size=batch_size, counts=counts
    ):
        yield indices[row], state.z[row].tolist()


def published(family, schedule, indices, length, seed, prefix, batch_size, counts):
    """The same from the published sampler, a batch at a time."""
    for start in range(0, len(indices), batch_size):
        part = indices[start : start + batch_size]
        tokens = sample_published(
            family.denoisers, schedule, part, length, seed=seed, prefix=prefix, counts=counts
        )
        counts.tokens["published"] += tokens.numel() - len(part) * (
            0 if prefix is None else len(prefix)
        )
        yield from zip(part, tokens.tolist())


def watched(family, schedule, length, seed, prefix, counts, watch) -> list[int]:
    """Sample 0, drawn in parts and shown after each."""
    one, names = family.any, schedule.by_step()
    state = sampler.begin([0], length, schedule.steps, one.mask_id, seed, prefix, one.device)
    while state.clock:
        model = names[state.clock - 1]
        stop = max(0, state.clock - max(1, schedule.steps // FRAMES))
        list(sampler.advance(state, family.denoisers, schedule, stop, seed=seed, counts=counts))
        watch(stop, model, state.z[0].tolist())
    return state.z[0].tolist()


def masked_runs(tokens: list[int], mask_id: int) -> list[tuple[bool, list[int]]]:
    """(masked or not, its tokens) for each run of masked or unmasked positions."""
    return [
        (masked, list(run)) for masked, run in groupby(tokens, key=lambda token: token == mask_id)
    ]
