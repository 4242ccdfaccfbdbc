"""The recommendation document: a schedule from curves, on demand verified by sampling."""

from dataclasses import dataclass
from typing import Any

from stepimp.checks import Count, Share
from stepimp.columns import typed
from stepimp.curves.document import check_weights
from stepimp.intervals import Estimate
from stepimp.models import loading
from stepimp.models.family import family_folder
from stepimp.models.loading import Family
from stepimp.models.options import Dtype, check_fields
from stepimp.progress import Progress, ProgressOption, no_progress, reporter
from stepimp.quality.candidates import Candidate
from stepimp.quality.comparison import compare
from stepimp.quality.judge import Judge, judge_of, load_judge
from stepimp.quality.paired_samples import Setting
from stepimp.quality.planned import params_from_curves
from stepimp.results import Run, results_folder
from stepimp.rows import Objective, RecommendRow, VerificationRow
from stepimp.schedules.recommend import recommend_from, schedules_to_verify
from stepimp.schedules.schedule import parse


@dataclass(frozen=True)
class Verification:
    """How a recommendation is verified: its schedules are sampled and their text is scored."""

    samples: Count = 32
    """Samples per schedule."""
    judge: str | None = None
    """Judge language model, a Hugging Face id or folder; None: the family's own, else gpt2."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    dtype: Dtype = "float32"
    """Dtype of the models' bodies."""
    attn: str = "auto"
    """Implementation of attention, as transformers names them."""

    def __post_init__(self):
        check_fields(self)


def recommendation(
    curves: dict,
    out,
    *,
    heavy: str | None = None,
    lights=(),
    budget: Share = 0.25,
    save_flops: bool = False,
    by: Objective = "kl",
    segments: Count = 3,
    shortest: Count = 1,
    steps: Count = 1000,
    seed: int = 0,
    verification: Verification | None = None,
    progress: ProgressOption = False,
) -> dict:
    """Writes the recommendation document of a curves document to the folder `out`, and returns it.

    heavy: raises StepimpError if the curves have another one. lights: see `scheduled_lights`. The
    other options are those of `schedules.recommend.recommend`. verification: adds
    `VerificationRow`s. progress: of the search for the optimum, as for `schedules.cheapest`; with a
    verification of its batches of samples.
    """
    progress = reporter(progress)
    results_folder(out)
    options: dict[str, Any] = dict(
        budget=budget,
        save_flops=save_flops,
        by=by,
        segments=segments,
        shortest=shortest,
        steps=steps,
        seed=seed,
    )
    params = params_from_curves(curves, heavy, lights, save_flops, options) | {
        "samples": verification and verification.samples,
        "dtype": verification and verification.dtype,
    }
    lights, measured = params["lights"], curves["params"]
    searched = no_progress if verification else progress
    advice = recommend_from(curves, lights, progress=searched, **options)
    fingerprints = curves["provenance"]["fingerprints"]
    if verification:
        family, judge = load_to_verify(curves, verification)
        fingerprints = {**fingerprints, "judge": judge.fingerprint}
        params |= family.params
        run = Run(out, "recommend", params, fingerprints, family.any.device, verification.dtype)
        setting = Setting(
            family,
            measured["heavy"],
            steps=steps,
            samples=verification.samples,
            length=measured["length"],
            seed=seed,
            out=str(run.path.parent),
            dtype=verification.dtype,
        )
        advice["verification"] = verify(
            advice["rows"], lights, setting, judge, run.started, progress
        )
    else:
        run = Run(out, "recommend", params, fingerprints)
    return run.finish(**advice, blocks=curves["blocks"], curve_params=measured)


def load_to_verify(curves: dict, verification: Verification) -> tuple[Family, Judge]:
    """The curves' models, which must still have the weights that were measured, and the judge."""
    weights = curves["provenance"]["fingerprints"]["models"]
    folder = family_folder(curves["params"]["family"])
    device = verification.device
    family = loading.load(weights, folder, device, verification.dtype, verification.attn)
    check_weights(curves, family.fingerprints)
    return family, load_judge(judge_of(folder, verification.judge), device)


def verify(
    rows: list[RecommendRow],
    lights: list[str],
    setting: Setting,
    judge: Judge,
    started: str,
    progress: Progress,
) -> list[VerificationRow]:
    """Samples with some of the recommended rows' schedules, and sets their predictions beside what
    was measured. started: stamp of the run that times them.
    """
    light, *others = lights
    predicted = {row["name"]: row for row in schedules_to_verify(rows)}
    candidates = [
        Candidate(
            name,
            None if others or name == "all-heavy" else light,
            parse(row["schedule"], setting.heavy, light),
        )
        for name, row in predicted.items()
    ]
    measured, _ = compare(setting, candidates, judge, started, progress)
    rows_with_predictions = []
    for row in measured:
        cells = dict(row)
        for column in ("path_kl_nats", "nelbo_nats"):
            cells |= Estimate.of(predicted[row["name"]], column).columns(column)
        rows_with_predictions.append(typed(VerificationRow, cells | {"judge": judge.name}))
    return rows_with_predictions
