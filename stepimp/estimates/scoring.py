"""What it costs to score a file of text: counted from its tokens, timed on a few batches and kept
in the cache.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import torch

from stepimp.estimates import timing
from stepimp.estimates.training_flops import causal_body_flops, causal_head_flops
from stepimp.estimates.work import BYTES_PER_NUMBER
from stepimp.models.family import family_folder
from stepimp.quality.evaluation import EvaluateOptions, newest_samples, scored_parts
from stepimp.quality.judge import Judge, judge_of, load_judge
from stepimp.quality.samples_file import Samples, read_samples
from stepimp.quality.scoring import batches, mdlm_chunks, mdlm_ids, read_whole

TIMED = 4  # batches that are timed at least, where there are as many
NUMBERS = 4  # per text: two in the journal and two in the results document

Batches = list[tuple[torch.Tensor, torch.Tensor]]
"""ids [B, L] and which of them are scored [B, L]."""


@dataclass(frozen=True)
class Scoring:
    """What it costs to score a file."""

    texts: int
    forwards: int
    """Sequences that go through the judge."""
    flops: float
    startup: float
    """Seconds until the judge was loaded."""
    scoring: float
    """Seconds to tokenise and score all texts."""
    memory: int
    """Most bytes that the process, or the GPU, held."""

    @property
    def bytes(self) -> float:
        """On disk."""
        return NUMBERS * self.texts * BYTES_PER_NUMBER

    def seconds(self, processes: int = 1) -> float:
        """Seconds that scoring takes, shared by this many processes."""
        return self.startup + self.scoring / processes


def scoring(options: EvaluateOptions) -> Scoring:
    """What `quality.evaluation.evaluate_file` will cost, measured now if it is not known.

    Raises StepimpError for samples and judges that cannot be used.
    """
    samples = read_samples(options.file or newest_samples(options.out), options.column)
    origin = samples.document["params"] if samples.document else {}
    source = judge_of(family_folder(options.family or origin.get("family")), options.judge)
    run = (options.device, options.dtype, options.compat, options.batch_size)
    stamps = [timing.stamp(path) for path in (source, str(samples.path))]
    file = timing.rates_path("evaluate", run, stamps, options.column)
    if not file.exists():
        measured = measure_scoring(samples, source, options)
        timing.keep(file, measured)
    return Scoring(**json.loads(file.read_text("utf-8")))


def measure_scoring(samples: Samples, source: str, options: EvaluateOptions) -> Scoring:
    """`scoring`, measured. source: folder or id of the judge."""
    watch = timing.Stopwatch()
    judge = load_judge(source, options.device, options.dtype)
    device = judge.model.device
    clock = timing.clock_for(device)
    startup, start = watch.seconds(clock), clock()
    runs = judge_batches(judge, samples, options.compat, options.batch_size)
    reading = clock() - start
    return Scoring(
        texts=len(samples.texts),
        forwards=sum(len(ids) for ids, _ in runs),
        flops=scoring_flops(judge.model, runs),
        startup=startup,
        scoring=reading + seconds_of_batches(judge, runs, clock),
        memory=timing.peak_memory(device),
    )


def judge_batches(judge: Judge, samples: Samples, compat: str | None, batch_size: int) -> Batches:
    """All that the judge will read."""
    if compat == "mdlm":
        texts = [prefix + text for prefix, text in zip(samples.prefixes, samples.texts)]
        longest = max(map(len, samples.tokens or judge.encode(texts)))
        batch_size = min(batch_size, len(texts))
        ids = mdlm_ids(judge, texts, longest, batch_size)
        chunks = mdlm_chunks(judge, ids, batch_size)
        return [(chunk, weight) for _, chunk, weight in chunks if weight.any()]
    runs: Batches = []
    for part in scored_parts(len(samples.texts)):
        whole = read_whole(judge, samples.texts[part], samples.prefixes[part])
        runs += [(ids, scored) for _, ids, scored in batches(whole, judge.context, batch_size)]
    return runs


def scoring_flops(model, runs: Batches) -> float:
    """FLOPs of all batches: no layer reads the last token, and the projection runs at the tokens
    before scored ones.
    """
    bodies = sum(len(ids) * causal_body_flops(model, ids.shape[1] - 1) for ids, _ in runs)
    return bodies + sum(int(scored.sum()) for _, scored in runs) * causal_head_flops(model)


def seconds_of_batches(judge: Judge, runs: Batches, clock: Callable[[], float]) -> float:
    """Seconds of all batches, by the tokens of some of them, drawn at random, after a warm-up."""
    if not runs:
        return 0.0
    judge.nll(*runs[0])
    order = torch.randperm(len(runs), generator=torch.Generator().manual_seed(0)).tolist()
    spent, read = 0.0, 0
    for done, (ids, scored) in enumerate(runs[i] for i in order):
        if done >= TIMED and spent >= timing.SECONDS:
            break
        start = clock()
        judge.nll(ids, scored)
        spent, read = spent + clock() - start, read + ids.numel()
    return spent / read * sum(ids.numel() for ids, _ in runs)
