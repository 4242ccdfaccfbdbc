"""One search, from its options to its results document."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from stepimp.checks import Count
from stepimp.curves.document import check_weights, read_curves_of
from stepimp.curves.measurements import Measurements
from stepimp.curves.options import CurveOptions
from stepimp.errors import StepimpError
from stepimp.models.family import family_folder, recorded
from stepimp.models.loading import Family, load
from stepimp.models.options import ModelOptions
from stepimp.processes import Processes
from stepimp.progress import ProgressOption, reporter
from stepimp.quality import scoring
from stepimp.quality.judge import judge_of, load_judge
from stepimp.results import Run, results_folder
from stepimp.sampling import sampler
from stepimp.sampling.curves import curves_for
from stepimp.search import ranking
from stepimp.search.coarse import Coarse
from stepimp.search.elimination import Elimination
from stepimp.search.exhaustive import score_check, search


@dataclass(frozen=True, kw_only=True)
class SearchOptions(ModelOptions):
    """What `search_models` searches. Raises StepimpError for sizes that do not go together."""

    heavy: str
    """Name of the heavy model."""
    light: str
    """Name of the light model."""
    segments: Count = 10
    """Equal parts of the trajectory."""
    light_segments: Count = 4
    """Number of them that run light."""
    steps: Count = 1000
    """T, the number of denoising steps."""
    samples: Count = 160
    """Samples per schedule."""
    length: Count | None = None
    """Tokens per sample; None: the models' maximum."""
    curves: str | None = None
    """File of the curves that predict the ranking; None: the newest, else measured now."""
    elimination: Elimination | None = None
    """Drops schedules after each chunk; None: all schedules get all samples."""
    chunk: Count = 32
    """Samples that are drawn together."""
    batch_size: Count = 16
    """Sequences per forward pass."""
    judge: str | None = None
    """Folder or Hugging Face id of the judge; None: the family's own, else GPT-2."""

    def __post_init__(self):
        super().__post_init__()
        if self.heavy == self.light:
            raise StepimpError(f"{self.heavy} is the heavy model: choose another light one.")
        self.coarse.check()
        if self.elimination and self.elimination.top >= len(self.coarse):
            raise StepimpError(
                f"{self.elimination.top} best schedules must be fewer than the {len(self.coarse)} "
                "schedules."
            )

    @property
    def coarse(self) -> Coarse:
        """The schedules to search."""
        return Coarse(self.heavy, self.light, self.steps, self.segments, self.light_segments)


def search_models(
    options: SearchOptions,
    measure: Callable[[CurveOptions], dict] | None = None,
    progress: ProgressOption = False,
) -> dict:
    """The results document of `stepimp search`, written to the results folder.

    measure: gives the curves document of options, called when all else has been checked, if there
    are no curves of these models; by default `sampling.curves.measure_curves`. progress: True for a
    bar, or called with the schedules x chunks done and to do. Raises StepimpError for models,
    lengths and judges that cannot be used.
    """
    progress = reporter(progress)
    results_folder(options.out)
    processes, coarse = Processes(), options.coarse
    device, folder = processes.device(options.device), family_folder(options.family)
    family = load([options.heavy, options.light], folder, device, options.dtype, options.attn)
    family.require_lighter(options.heavy, [options.light])
    length = options.length or family.length
    sampler.check(family.denoisers, coarse.schedule(coarse.names()[0]), length)
    judge = load_judge(judge_of(folder, options.judge), device)
    curves = find_curves(options, family.fingerprints, measure)
    measured = Measurements.unpack(curves)
    predicted = ranking.predictions(measured, coarse, options.seed)
    held_out = ranking.held_out_rows(measured, coarse, options.seed)
    params = recorded_params(options, family, length, judge.name)
    fingerprints = {"models": family.fingerprints, "judge": judge.fingerprint}
    run = Run(options.out, "search", params, fingerprints, family.any.device, options.dtype)
    counts, started = sampler.Counts(), time.perf_counter()

    def score(tokens):
        texts = family.decode(tokens)
        log_ppl = scoring.score(judge, texts, batch_size=options.batch_size).log_ppl
        return log_ppl, scoring.unigram_entropy(tokens.tolist())

    log_ppl, entropy = search(
        family.denoisers,
        coarse,
        options.samples,
        length,
        seed=options.seed,
        score=score,
        batch_size=options.batch_size,
        chunk=options.chunk,
        elimination=options.elimination,
        journal=run.journal(score_check(coarse)),
        processes=processes,
        counts=counts,
        progress=progress,
    )
    forwards = sum(processes.gather({processes.rank: counts.forwards.total()}).values())
    parts = ranking.results(coarse, log_ppl, entropy, predicted, options.seed)
    if held_out:
        parts["held_out"] = held_out
    if options.elimination:
        parts["race"] = ranking.elimination_rounds(coarse, entropy, options.chunk)
    seconds = time.perf_counter() - started
    cost = {"forwards": forwards, "processes": processes.count, "seconds": seconds}
    return run.finish(**parts, cost=cost, blocks=family.blocks, curves=Path(curves["path"]).name)


def recorded_params(options: SearchOptions, family: Family, length: int, judge: str) -> dict:
    """What the results depend on. length: of the samples, in tokens; judge: its name."""
    return dict(
        heavy=options.heavy,
        light=options.light,
        segments=options.segments,
        light_segments=options.light_segments,
        steps=options.steps,
        samples=options.samples,
        length=length,
        judge=judge,
        race=asdict(options.elimination) if options.elimination else None,
        chunk=options.chunk,
        seed=options.seed,
        dtype=options.dtype,
        family=recorded(options.family),
        **family.params,
    )


def find_curves(
    options: SearchOptions,
    fingerprints: dict[str, str],
    measure: Callable[[CurveOptions], dict] | None = None,
) -> dict:
    """The curves that predict the ranking: those of a file, else the newest, else measured now.

    fingerprints: model -> fingerprint. Raises StepimpError unless the curves are of these models
    with these weights.
    """
    lights = (options.light,)
    if path := options.curves:
        document = Processes().from_first(lambda: read_curves_of(path, options.heavy, lights))
    else:
        document = curves_for("kl", options.heavy, lights, options, measure, weights=fingerprints)
    check_weights(document, fingerprints)
    return document
