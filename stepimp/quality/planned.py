"""The documents of schedules over n and of plans, and the schedule itself as a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepimp.checks import Count, Positive, Share
from stepimp.curves.document import check_current
from stepimp.errors import StepimpError
from stepimp.models.options import checked
from stepimp.results import Run, results_folder, write_atomically
from stepimp.rows import Objective
from stepimp.schedules import over_masked, plan
from stepimp.schedules.plans import plan_from
from stepimp.schedules.recommend import scheduled_lights
from stepimp.schedules.recommend_masked import recommend_masked_from
from stepimp.schedules.saved import AnySchedule, SavedSchedule
from stepimp.schedules.schedule import parse

READ: dict[str, Callable[..., AnySchedule]] = {
    "recommend": parse,
    "recommend_masked": over_masked.parse,
    "plan": plan.parse,
}


def masked_recommendation(
    curves: Any,
    out,
    *,
    heavy: str | None = None,
    lights=(),
    budget: Share = 0.25,
    save_flops: bool = False,
    by: Objective = "kl",
    segments: Count = 3,
    steps: Count | None = 1000,
    seed: int = 0,
) -> dict:
    """Writes the recommendation over n of a document of curves over n to the folder `out`, and
    returns it.

    curves: the document, or what `stepimp.curves` returned. lights: see `scheduled_lights`. The
    other options are those of `schedules.recommend_masked.recommend_masked`. Raises StepimpError
    for values that cannot be used, and if the curves have another heavy model.
    """
    given: dict[str, Any] = dict(budget=budget, save_flops=save_flops, by=by)
    given |= dict(segments=segments, steps=steps, seed=seed)
    options = checked(masked_recommendation, given)
    curves = document_of(curves)
    run, chosen = run_of("recommend_masked", curves, out, heavy, lights, save_flops, options)
    advice = recommend_masked_from(curves, chosen, **options)
    return run.finish(**advice, blocks=curves["blocks"], curve_params=curves["params"])


def plan_document(
    curves: Any,
    out,
    *,
    forwards: Positive,
    budget: Share = 1.0,
    by: Objective = "nelbo",
    heavy: str | None = None,
    lights=(),
    seed: int = 0,
) -> dict:
    """Writes the document of a plan from a document of curves over n to the folder `out`, and
    returns it.

    curves: the document, or what `stepimp.curves` returned. lights: None or empty for all of the
    curves. The other options are those of `schedules.plans.plan`. Raises StepimpError for values
    that cannot be used, and if the curves have another heavy model.
    """
    options = checked(plan_document, dict(forwards=forwards, budget=budget, by=by, seed=seed))
    curves = document_of(curves)
    run, chosen = run_of("plan", curves, out, heavy, lights, True, options)
    parts = plan_from(curves, chosen, **options)
    return run.finish(**parts, blocks=curves["blocks"], curve_params=curves["params"])


def document_of(curves: Any) -> dict:
    """The document of curves, or of what holds one. Raises StepimpError for anything else."""
    document = getattr(curves, "document", curves)
    if isinstance(document, dict):
        return document
    raise StepimpError(
        f"{type(curves).__name__} does not hold curves: give what stepimp.curves returned, or its "
        "document."
    )


def run_of(
    command: str, curves: dict, out, heavy: str | None, lights, all_lights: bool, options: dict
) -> tuple[Run, list[str]]:
    """The run of a document made from curves, and the light models to use."""
    results_folder(out)
    params = params_from_curves(curves, heavy, lights, all_lights, options)
    return Run(out, command, params, curves["provenance"]["fingerprints"]), params["lights"]


def params_from_curves(
    curves: dict, heavy: str | None, lights, all_lights: bool, options: dict
) -> dict[str, Any]:
    """The params of a document made from curves: its options, its models and the curves' file.

    lights, all_lights: see `scheduled_lights`. Raises StepimpError if the curves have another heavy
    model or were measured with other weights than the family has now.
    """
    check_current(curves)
    measured = curves["params"]
    if heavy not in (None, measured["heavy"]):
        raise StepimpError(
            f"{curves['path']} has {measured['heavy']} as the heavy model, not {heavy}."
        )
    return {
        **options,
        "lights": scheduled_lights(curves, lights, all_lights),
        **{name: measured[name] for name in ("heavy", "baseline", "family")},
        "curves": Path(curves["path"]).name,
    }


def recommended_schedule(document: dict) -> AnySchedule:
    """What a document of `stepimp recommend` or `stepimp plan` recommends."""
    params = document["params"]
    row = next(row for row in document["rows"] if row["name"] == "recommended")
    return READ[document["command"]](row["schedule"], params["heavy"], params["lights"][0])


def save_schedule(document: dict, path) -> Path:
    """Writes what a document recommends as the JSON of `SavedSchedule` to a file of any name.

    Raises StepimpError where it cannot be written.
    """
    params, row = document["params"], document["rows"][0]
    schedule, path = recommended_schedule(document), Path(path).expanduser()
    predicted = {name: row[name] for name in ("path_kl_nats", "nelbo_nats", "objective")}
    saved = SavedSchedule(
        schedule,
        params["steps"] if document["command"] == "recommend_masked" else None,
        {
            "version": document["provenance"]["version"],
            "document": Path(document["path"]).name,
            "params": params,
            "predicted": predicted,
            "fingerprints": document["provenance"]["fingerprints"],
        },
    )
    if path.parent != Path():
        results_folder(path.parent)
    write_atomically(path, saved.to_json())
    return path
