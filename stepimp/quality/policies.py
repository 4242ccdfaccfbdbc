"""Fixed schedule, schedule over n, plan, cascade and drafting side by side at equal mean cost.

All of them are chosen on one part of the held-out text. Their NELBO is then measured on another
part, through the sampler's own events (`stepimp.sampling.forced`), and their samples are scored;
both share orders and random numbers, so that differences to the fixed schedule are paired.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch

from stepimp.checks import fault, is_array, span
from stepimp.columns import typed
from stepimp.curves.document import check_weights
from stepimp.curves.options import CurveOptions
from stepimp.intervals import Estimate, ratio
from stepimp.journals import Check
from stepimp.models.family import family_folder, recorded
from stepimp.models.loading import Family, load
from stepimp.processes import Processes
from stepimp.progress import ProgressOption, reporter
from stepimp.quality.evaluation import quality_columns
from stepimp.quality.judge import Judge, judge_of, load_judge
from stepimp.quality.policy_choice import (
    AT_EQUAL_COST,
    FIXED,
    Chosen,
    PolicyOptions,
    choose,
    split_text,
)
from stepimp.quality.scoring import Scores, score, unigram_entropy, unscorable
from stepimp.results import Run, results_folder
from stepimp.rows import PolicyRow
from stepimp.sampling.chosen import written
from stepimp.sampling.cost import Stopwatch
from stepimp.sampling.curves import curves_for
from stepimp.sampling.forced import forced_losses
from stepimp.sampling.generate import is_id
from stepimp.sampling.policies import sample
from stepimp.sampling.state import Counts


def compare_policies(
    options: PolicyOptions,
    measure: Callable[[CurveOptions], dict] | None = None,
    progress: ProgressOption = False,
) -> dict:
    """The document of the comparison, written to the results folder.

    measure: gives the curves over n of options, called if there are none in the results folder; by
    default `sampling.curves.measure_curves`. progress: True for a bar, or called with the batches
    done and to do. Raises StepimpError for a budget that cannot be met, or a text that is too
    short.
    """
    progress = reporter(progress)
    results_folder(options.out)
    folder, pair = family_folder(options.family), (options.heavy, options.light)
    curves = curves_for("nelbo", options.heavy, [options.light], options, measure, by_masked=True)
    processes = Processes()
    device = processes.device(options.device)
    family = load(pair, folder, device, options.dtype, options.attn)
    check_weights(curves, family.fingerprints)
    judge = load_judge(options.judge or judge_of(folder), device)
    tuning, text, source = split_text(curves, family, options)
    names = ("heavy", "light", "save_flops", "steps", "samples", "sequences", "draft", "batch_size")
    params = {name: getattr(options, name) for name in (*names, "seed", "dtype")}
    params |= {"curves": Path(curves["path"]).name, "judge": judge.name}
    params |= {"length": text.shape[1], "family": recorded(options.family)} | family.params
    fingerprints = {"models": family.fingerprints, "judge": judge.fingerprint, "data": source}
    run = Run(options.out, "policies", params, fingerprints, family.any.device, options.dtype)
    if document := run.finished():
        return document
    journal = run.journal(result_check(pair, text.shape[1], family.any.vocab_size))
    chosen = choose(options, curves, family, tuning)
    units = {
        f"{part}:{each.name}:{start}:{min(start + options.batch_size, count)}": (
            part,
            each,
            range(start, min(start + options.batch_size, count)),
        )
        for part, count in (("text", options.sequences), ("samples", options.samples))
        for start in range(0, count, options.batch_size)
        for each in chosen
    }

    def result(unit: tuple[str, Chosen, range]) -> dict:
        part, each, turn = unit
        if part == "text":
            return measured_text(each, family, text, turn, options)
        return drawn_samples(each, family, text.shape[1], turn, options)

    done = processes.finish_units(units, result, journal, progress)
    rows = policy_rows(chosen, done, family, judge, options)
    return run.finish(rows, blocks=family.blocks)


class Losses(TypedDict):
    """What `measured_text` returns."""

    losses: list[float]
    tokens: int


class Drawn(TypedDict):
    """What `drawn_samples` returns."""

    seconds: float
    forwards: dict[str, int]
    sequential: dict[str, int]
    tokens: list[list[int]]
    text: list[str]


def result_check(pair: Iterable[str], length: int, vocabulary: int) -> Check:
    """The check of the journal: `part:policy:start:stop` and what was measured of it."""

    def check(unit: str, result) -> str:
        part, _, rest = unit.partition(":")
        count = span(":".join(f":{rest}".split(":")[-2:]))
        if text := fault(result, Losses if part == "text" else Drawn, unit):
            return text
        if part == "text":
            whole = len(result["losses"]) == count and result["tokens"] == length
        else:
            whole = (
                is_array(result["tokens"], (count, length), is_id(vocabulary))
                and len(result["text"]) == count
                and all({*pair} == result[calls].keys() for calls in ("forwards", "sequential"))
            )
        return "" if whole and count else f"{unit} does not hold {count} texts of {length} tokens"

    return check


def measured_text(
    each: Chosen, family: Family, text: torch.Tensor, turn: range, options: PolicyOptions
) -> dict:
    """-log p in nats of each sequence of a batch under a policy's events."""
    losses = forced_losses(
        family.denoisers,
        each.policy,
        text[turn.start : turn.stop],
        seed=options.seed,
        first=turn.start,
        batch_size=options.batch_size,
    )
    return {"losses": losses.tolist(), "tokens": text.shape[1]}


def drawn_samples(
    each: Chosen, family: Family, length: int, turn: range, options: PolicyOptions
) -> dict:
    """One batch of samples: tokens, text, and what they cost."""
    counts, clock = Counts(), Stopwatch(family.any.device)
    start, pair = clock.now(), (options.heavy, options.light)
    tokens = sample(
        family.denoisers,
        each.policy,
        turn,
        length,
        seed=options.seed,
        batch_size=options.batch_size,
        counts=counts,
    )
    return {
        "seconds": clock.now() - start,
        "forwards": {model: counts.forwards[model] for model in pair},
        "sequential": {model: counts.sequential[model] for model in pair},
        "tokens": tokens.tolist(),
        "text": family.decode(tokens.tolist()),
    }


@dataclass(frozen=True)
class Measured:
    """A policy in numbers."""

    losses: np.ndarray
    """[sequences] nats per token of the text."""
    scores: Scores
    """Scores of the samples."""
    entropy: np.ndarray
    """[samples] unigram entropy in nats."""
    batches: list[dict]
    """What `drawn_samples` gave."""

    def per_sample(self, kind: str, model: str) -> float:
        """Mean over samples of "forwards" or "sequential" calls of a model."""
        return sum(batch[kind][model] for batch in self.batches) / len(self.entropy)


def measured(name: str, done: dict[str, dict], family: Family, judge: Judge) -> Measured:
    """The finished batches of one policy. done: unit -> result."""
    text, batches = (
        [result for unit, result in done.items() if unit.startswith(f"{part}:{name}:")]
        for part in ("text", "samples")
    )
    losses = [
        loss / (batch["tokens"] - family.around) for batch in text for loss in batch["losses"]
    ]
    texts = [each for batch in batches for each in batch["text"]]
    tokens = [row for batch in batches for row in batch["tokens"]]
    scores = score(judge, texts, [""] * len(texts))
    return Measured(np.array(losses), scores, unigram_entropy(tokens), batches)


def policy_rows(
    chosen: list[Chosen],
    done: dict[str, dict],
    family: Family,
    judge: Judge,
    options: PolicyOptions,
) -> list[PolicyRow]:
    """A row for each policy; differences are paired with the best schedule over steps, and the
    intervals of those in NELBO hold jointly for the policies at equal cost.
    """
    heavy, light, blocks = options.heavy, options.light, family.blocks
    by_policy = {each.name: measured(each.name, done, family, judge) for each in chosen}
    base, rows = by_policy[FIXED], []
    for each in chosen:
        numbers = by_policy[each.name]
        passes = {model: numbers.per_sample("forwards", model) for model in (heavy, light)}
        difference = ratio(numbers.losses - base.losses, jointly=len(AT_EQUAL_COST))
        row: dict[str, Any] = {
            "name": each.name,
            "policy": written(each.policy, heavy, light),
            "predicted_heavy_forwards": each.heavy_forwards,
            "heavy_forwards": sum(blocks[m] * n for m, n in passes.items()) / blocks[heavy],
            "forwards_heavy": passes[heavy],
            "forwards_light": passes[light],
            "sequential_heavy": numbers.per_sample("sequential", heavy),
            **each.nelbo.columns("predicted_nelbo_nats"),
            **each.path_kl.columns("predicted_path_kl_nats"),
            **ratio(numbers.losses).columns("nelbo_nats"),
            **difference.columns("nelbo_diff_nats"),
            **quality_columns(numbers.scores, numbers.entropy),
            **ratio(numbers.scores.log_ppl - base.scores.log_ppl).columns("log_ppl_diff"),
            "seconds": sum(batch["seconds"] for batch in numbers.batches),
            "empty": unscorable(numbers.scores, judge),
            "verdict": verdict(each.name, difference),
        }
        rows.append(typed(PolicyRow, row))
    return rows


def verdict(name: str, difference: Estimate) -> str:
    """What the interval of the measured NELBO difference says against the best over steps; nothing
    of a policy at another cost.
    """
    if name == FIXED:
        return "the reference"
    if name not in AT_EQUAL_COST:
        return "other cost"
    if difference.high < 0:
        return "better"
    return "worse" if difference.low > 0 else "not better"
