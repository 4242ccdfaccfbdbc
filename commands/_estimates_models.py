"""The estimates of commands that run denoisers, as documents, and of `stepimp reproduce`, the sum
of its steps.
"""

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._estimates import workers_of
from ._long import family_of
from ._progress import progress
from ._protocol import is_there, plan
from ._steps import Step, elapsed
from ._work import JUDGED, cores, missing_curves, planned, step_params

if TYPE_CHECKING:
    from stepimp.curves.options import CurveOptions
    from stepimp.estimates.rates import Rates, Run
    from stepimp.estimates.work import Work


def of_models(context: click.Context) -> dict:
    """The estimate of a command that runs denoisers."""
    command, params = context.info_name or "", context.params
    run = run_of(command, params, missing_curves(command, params, family_of(params)))
    workers = workers_of(context)  # before torch counts its threads
    from stepimp.estimates.rates import rates

    return of_work(run[0], rates(*run), workers)


def run_of(command: str, params: dict[str, Any], first: "CurveOptions | None") -> "Run":
    """What a command runs, and on which device. first: the curves that it measures before."""
    from dataclasses import fields

    from stepimp.models.options import ModelOptions

    names = {field.name for field in fields(ModelOptions)}
    options = ModelOptions(**{name: value for name, value in params.items() if name in names})
    work = planned(command, params, family_of(params), first)
    return work, options, params.get("judge") if command in JUDGED else None


def of_work(work: "Work", measured: "Rates", workers: int) -> dict:
    """The document of some work in this many processes."""
    return {
        "forwards": {model: round(count) for model, count in work.forwards.items()},
        "texts_scored": round(work.texts),
        "flops": work.flops(measured.flops),
        "seconds": measured.seconds(work, workers),
        "processes": workers,
        "memory_bytes": measured.memory,
        "disk_bytes": round(work.bytes),
    }


def of_reproduce(context: click.Context) -> dict:
    """The estimate of `stepimp reproduce`: of those of its steps whose results are not there."""
    params, group = context.params, context.find_root().command
    assert isinstance(group, click.Group)
    planned_steps = plan(params["scale"], params["family"], group, params["dtype"])
    steps = [step for step in planned_steps if not is_there(params["results"], step)]
    workers = params["workers"] or cores()
    if workers > 1:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # as each step has it
    from stepimp.estimates.rates import rates_apart

    runs = []
    for step in steps:
        command, options = step_params(step.arguments, group)
        runs.append(
            run_of(command, options, missing_curves(command, options, step.folder, step.reads))
        )
    with progress("commands timed") as report:
        all_rates = rates_apart(runs, report)
    parts = [of_work(work, measured, 1) for (work, *_), measured in zip(runs, all_rates)]
    return of_steps(steps, parts, workers, family_of(params))


def of_steps(steps: list[Step], parts: list[dict], workers: int, family: Path) -> dict:
    """The sum of steps, `workers` of which run at once. parts: the document of each; family: whose
    models are named without a folder.
    """
    forwards = Counter[str]()
    for step, part in zip(steps, parts):
        folder = "" if step.folder == family else f"{step.folder.name}/"
        forwards.update({f"{folder}{model}": count for model, count in part["forwards"].items()})
    largest = sorted((part["memory_bytes"] for part in parts), reverse=True)
    return {
        "forwards": dict(forwards),
        "texts_scored": sum(part["texts_scored"] for part in parts),
        "flops": sum(part["flops"] for part in parts),
        "seconds": elapsed(steps, [part["seconds"] for part in parts], workers),
        "processes": workers,
        "memory_bytes": sum(largest[:workers]),
        "disk_bytes": sum(part["disk_bytes"] for part in parts),
        "commands": [{"command": list(step.arguments), **part} for step, part in zip(steps, parts)],
    }
