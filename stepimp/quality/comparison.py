"""Schedules side by side: the same samples drawn with each, their text scored by a judge, their
cost counted and timed.
"""

from dataclasses import dataclass

from stepimp.checks import Count, Share, Size
from stepimp.errors import StepimpError
from stepimp.journals import MemoryJournal
from stepimp.models.family import chosen_text, family_folder, recorded
from stepimp.models.loading import load
from stepimp.models.options import ModelOptions
from stepimp.processes import Processes
from stepimp.progress import Progress, ProgressOption, no_progress, reporter
from stepimp.quality.candidates import (
    Candidate,
    all_heavy,
    default_candidates,
    given_candidates,
)
from stepimp.quality.judge import Judge, judge_of, load_judge
from stepimp.quality.paired_samples import Setting, draw_samples, text_prefixes
from stepimp.quality.paired_statistics import (
    compare_row,
    per_sample_columns,
    placement_pairs,
    score_samples,
)
from stepimp.results import Run, results_folder
from stepimp.rows import CompareRow
from stepimp.sampling import sampler


@dataclass(frozen=True, kw_only=True)
class CompareOptions(ModelOptions):
    """What `compare_models` compares. Raises StepimpError if a model is both heavy and light."""

    heavy: str
    """Name of the heavy model."""
    lights: tuple[str, ...]
    """Names of the light models, each once."""
    schedules: tuple[str, ...] = ()
    """Notations of schedules and plans, or JSON files of them, to compare for each light model,
    instead of the paper's seven.
    """
    fractions: tuple[Share, ...] = ()
    """Light fractions of sandwiches to compare for each light model, instead of the paper's
    seven.
    """
    steps: Count = 1000
    """T, the number of denoising steps."""
    samples: Count = 32
    """Samples per schedule."""
    length: Count | None = None
    """Tokens per sample; None: the models' maximum."""
    prefix_length: Size = 0
    """Tokens of a held-out sequence that each sample starts with."""
    data: str | None = None
    """Text of the prefixes; None: what the family was trained on."""
    column: str | None = None
    """Where that text is in rows of several columns; None: as for `CurveOptions`."""
    batch_size: Count = 8
    """Samples drawn with one schedule before it is the next one's turn."""
    judge: str | None = None
    """Folder or Hugging Face id of the judge; None: the family's own, else GPT-2."""

    def __post_init__(self):
        super().__post_init__()
        if self.heavy in self.lights:
            raise StepimpError(f"{self.heavy} is the heavy model: choose another light one.")

    def given(self) -> list[Candidate]:
        """The schedules of `schedules` and `fractions`. Raises StepimpError if one does not
        parse.
        """
        return given_candidates(self.steps, self.schedules, self.fractions, self.heavy, self.lights)


def compare_models(options: CompareOptions, progress: ProgressOption = False) -> dict:
    """The results document of `stepimp compare`, written to the results folder.

    progress: True for a bar, or called with the batches of samples drawn and to draw. Raises
    StepimpError for models, schedules, lengths, prefixes and judges that cannot be used.
    """
    progress = reporter(progress)
    candidates, heavy, lights = options.given(), options.heavy, options.lights
    results_folder(options.out)
    folder = family_folder(options.family)
    names = [heavy, *lights, *(name for each in candidates for name in each.schedule.models)]
    processes = Processes()
    device = processes.device(options.device)
    family = load(names, folder, device, options.dtype, options.attn)
    family.require_lighter(heavy, lights)
    judge = load_judge(judge_of(folder, options.judge), device)
    length = options.length or family.length
    data, column, prefixes, text = None, None, None, None
    if options.prefix_length:
        data, column = chosen_text(options.data, options.column, folder)
        sizes = (options.samples, length, options.prefix_length)
        prefixes, text = processes.one_before_others(
            lambda: text_prefixes(data, family, *sizes, options.seed, column)
        )
    if not candidates:
        candidates = processes.from_first(
            lambda: default_candidates(
                options.out, options.steps, heavy, lights, family.fingerprints
            )
        )
    setting = Setting(
        family,
        heavy,
        steps=options.steps,
        samples=options.samples,
        length=length,
        seed=options.seed,
        out=options.out,
        prefixes=prefixes,
        text=text,
        batch_size=options.batch_size,
        dtype=options.dtype,
    )
    params = recorded_params(options, setting, candidates, judge.name, data, column)
    fingerprints = {"models": family.fingerprints, "judge": judge.fingerprint, "data": text}
    run = Run(options.out, "compare", params, fingerprints, family.any.device, options.dtype)
    rows, per_sample = compare(setting, candidates, judge, run.started, progress)
    pairs = placement_pairs(rows, per_sample, heavy)
    return run.finish(rows, pairs=pairs, per_sample=per_sample, blocks=family.blocks)


def recorded_params(
    options: CompareOptions,
    setting: Setting,
    candidates: list[Candidate],
    judge: str,
    data: str | None,
    column: str | None,
) -> dict:
    """What the results depend on. judge: its name; data, column: of the text that prefixes come
    from, None without prefixes.
    """
    params = dict(
        heavy=options.heavy,
        lights=list(options.lights),
        plans=[[each.name, each.light, each.schedule.format()] for each in candidates],
        steps=options.steps,
        samples=options.samples,
        length=setting.length,
        prefix_length=options.prefix_length,
        data=data,
        batch_size=options.batch_size,
        judge=judge,
        seed=options.seed,
        dtype=options.dtype,
        family=recorded(options.family),
        **setting.family.params,
    )
    return params if column in (None, "text") else params | {"column": column}


def compare(
    setting: Setting,
    candidates: list[Candidate],
    judge: Judge,
    stamp: str,
    progress: Progress = no_progress,
) -> tuple[list[CompareRow], dict[str, dict]]:
    """Rows of `paired_statistics.compare_row`, and log_ppl and entropy_nats of every sample by
    schedule.

    All-heavy is compared too, last if it is not a candidate. stamp: names this run in the samples
    it draws. Raises StepimpError for schedules, lengths and prefixes that cannot be sampled.
    """
    heavy = all_heavy(setting.steps, setting.heavy)
    candidates = list(dict.fromkeys(candidates))
    if heavy.schedule not in (candidate.schedule for candidate in candidates):
        candidates.append(heavy)
    schedules = list(dict.fromkeys(candidate.sampled for candidate in candidates))
    for sampled in schedules:
        sampler.check(setting.family.denoisers, sampled.schedule, setting.length, setting.prefixes)
    drawn = draw_samples(setting, schedules, stamp, progress)
    scored = Processes().finish_units(
        dict(zip(schedules, schedules)),
        lambda schedule: score_samples(setting, drawn[schedule], judge),
        MemoryJournal(),
    )
    rows = [
        compare_row(candidate, setting, scored[candidate.sampled], scored[heavy.sampled])
        for candidate in candidates
    ]
    return rows, per_sample_columns(scored)
