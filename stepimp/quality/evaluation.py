"""The quality of a file of generated text: its perplexity under a judge (gen-PPL) and its unigram
entropy.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from stepimp.checks import Count, is_array, is_count
from stepimp.columns import typed
from stepimp.documents import newest
from stepimp.errors import StepimpError
from stepimp.intervals import Estimate, ratio
from stepimp.journals import Check, Journal, MemoryJournal
from stepimp.models.family import family_folder
from stepimp.models.options import RunOptions
from stepimp.processes import Processes
from stepimp.progress import Progress, ProgressOption, no_progress, reporter
from stepimp.quality.judge import Judge, judge_of, load_judge
from stepimp.quality.samples_file import Samples, read_samples
from stepimp.quality.scoring import (
    Scores,
    score,
    score_as_mdlm,
    unigram_entropy,
    unscorable,
)
from stepimp.results import Run, results_folder
from stepimp.rows import EvaluateRow
from stepimp.text.cache import digest

SCORED_TOGETHER = 64  # texts that go into the journal at once


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(RunOptions):
    """What `evaluate_file` evaluates."""

    file: str | None = None
    """A samples file or results of `stepimp generate`; None: the newest in the results folder."""
    column: str = "text"
    """Where the text is in each object of the file; a.b is the field b of the field a."""
    judge: str | None = None
    """Folder or Hugging Face id of the judge; None: the family's own, else GPT-2."""
    compat: Literal["mdlm"] | None = None
    """"mdlm": score as the MDLM repository does."""
    batch_size: Count = 16
    """Texts per forward pass."""


def evaluate_file(options: EvaluateOptions, progress: ProgressOption = False) -> dict:
    """The results document of `stepimp evaluate`, written to the results folder.

    It has one row, that of `evaluate` with the schedule of the samples, and as `dropped` the number
    of samples beyond the last whole batch. Raises StepimpError for samples and judges that cannot
    be used.
    """
    progress = reporter(progress)
    results_folder(options.out)
    processes = Processes()
    samples = processes.from_first(
        lambda: read_samples(options.file or newest_samples(options.out), options.column)
    )
    origin = samples.document["params"] if samples.document else {}
    folder = family_folder(options.family or origin.get("family"))
    device = processes.device(options.device)
    judge = load_judge(judge_of(folder, options.judge), device, options.dtype)
    params = dict(
        samples_file=samples.path.name,
        judge=judge.name,
        compat=options.compat,
        batch_size=options.batch_size,
        seed=options.seed,
        dtype=options.dtype,
    )
    data = digest(*samples.prefixes, *samples.texts)
    fingerprints = {"judge": judge.fingerprint, "data": data}
    place = judge.model.device
    run = Run(options.out, "evaluate", params, fingerprints, place, options.dtype)
    journal = run.journal(check=score_check(len(samples.texts)))
    statistics, per_sample = evaluate(
        judge, samples, options.compat, options.batch_size, journal, progress
    )
    row = typed(EvaluateRow, {"schedule": origin.get("schedule"), **statistics})
    dropped = len(samples.texts) - row["samples"]
    return run.finish([row], per_sample=per_sample, dropped=dropped)


def newest_samples(out: str) -> str:
    """Path of the newest results of `stepimp generate`. Raises StepimpError if there are none."""
    document = newest(out, "generate")
    if document is None:
        raise StepimpError(
            f"No generated text in {out}: run stepimp generate first, or give a samples file."
        )
    return document["path"]


def evaluate(
    judge: Judge,
    samples: Samples,
    compat: str | None = None,
    batch_size: int = 16,
    journal: Journal | None = None,
    progress: Progress = no_progress,
) -> tuple[dict, dict]:
    """An `EvaluateRow` without its schedule, and log_ppl and entropy_nats of every sample.

    compat: None, or "mdlm" to score as the MDLM repository does. journal: keeps what is scored.
    Entropy is that of the samples' own tokens, or of the judge's if the file has none.
    """
    wholes = [prefix + text for prefix, text in zip(samples.prefixes, samples.texts)]
    tokens = samples.tokens or judge.encode(wholes)
    if compat == "mdlm":
        longest = max(map(len, tokens))
        scores = Processes().from_first(lambda: score_as_mdlm(judge, wholes, longest, batch_size))
        tokens = tokens[: len(scores.nll)]
    else:
        scores = score_in_parts(judge, samples, batch_size, journal or MemoryJournal(), progress)
    entropy = unigram_entropy(tokens)
    row = {
        "judge": judge.name,
        **quality_columns(scores, entropy),
        "entropy_of": "samples' tokens" if samples.tokens else "judge's tokens",
        "empty": unscorable(scores, judge),
    }
    return row, {"log_ppl": scores.log_ppl.tolist(), "entropy_nats": entropy.tolist()}


def score_check(total: int) -> Check:
    """The check of a journal of `score_in_parts` of this many texts."""

    def check(unit: str, result) -> str:
        start = int(unit) if unit.isdecimal() and len(unit) < 19 else total
        count = min(SCORED_TOGETHER, total - start)
        if count < 1 or not isinstance(result, list) or len(result) != 2:
            return f"unit {unit} is not the scores of a part of the texts"
        nll, tokens = result
        if not is_array(nll, (count,)) or not is_array(tokens, (count,), is_count):
            return f"unit {unit} does not hold {count} finite numbers and token counts"
        return ""

    return check


def scored_parts(total: int) -> list[slice]:
    """The parts of this many texts that are scored one after the other."""
    starts = range(0, total, SCORED_TOGETHER)
    return [slice(start, start + SCORED_TOGETHER) for start in starts]


def score_in_parts(judge: Judge, samples: Samples, batch_size: int, journal, progress) -> Scores:
    """`scoring.score`, SCORED_TOGETHER texts at a time, each part kept in the journal."""
    total = len(samples.texts)
    parts = {str(part.start): part for part in scored_parts(total)}

    def scored(part: slice) -> list[list]:
        scores = score(judge, samples.texts[part], samples.prefixes[part], batch_size)
        return [scores.nll.tolist(), scores.tokens.tolist()]

    done = Processes().finish_units(
        parts,
        scored,
        journal,
        lambda parts_done, _: progress(min(parts_done * SCORED_TOGETHER, total), total),
    )
    nll, tokens = (np.concatenate(column) for column in zip(*(done[name] for name in parts)))
    return Scores(nll, tokens)


def quality_columns(scores: Scores, entropy: np.ndarray) -> dict:
    """gen_ppl, the mean over samples of exp(log_ppl); corpus_ppl, exp(sum nll / sum tokens);
    entropy_nats; samples.

    Each of the three with its 95% interval over samples, columns _low and _high (see
    `stepimp.intervals`).
    """
    return {
        **ratio(np.exp(scores.log_ppl), log_scale=True).columns("gen_ppl"),
        **Estimate(*np.exp(ratio(scores.nll, scores.tokens))).columns("corpus_ppl"),
        **ratio(entropy).columns("entropy_nats"),
        "samples": len(scores.nll),
    }
