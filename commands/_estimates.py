"""The estimates of training and of scoring, as documents, and what all estimates share."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._training import family_shape, judge_shape, recipe_of
from ._workers import default_workers, threads_each

if TYPE_CHECKING:
    from stepimp.estimates.training_rates import Calibration
    from stepimp.training.recipe import Recipe


def workers_of(context: click.Context) -> int:
    """The processes that a command would start; from now on torch takes the threads of one."""
    if "workers" not in context.params:
        return 1
    workers = context.params["workers"] or default_workers(context)
    if workers > 1:
        os.environ["OMP_NUM_THREADS"] = threads_each(workers)
    return workers


def of_train(context: click.Context) -> dict:
    """The estimate of `stepimp train`."""
    from stepimp.estimates.training_rates import family_calibration
    from stepimp.training.recipe import members_to_train

    params = context.params
    if params["prepare"]:
        raise click.UsageError("--prepare only tokenises the text: there is nothing to estimate.")
    members = members_to_train(params["depths"], params["seed"], params["baseline_seed"])
    recipe = recipe_of(params)
    calibration = family_calibration(
        Path(params["folder"]).expanduser(),
        params["depths"],
        family_shape(params),
        recipe,
        params["data"],
        params["tokenizer"],
        params["vocab_size"],
        params["teacher"],
        params["column"],
    )
    names = {name: f"{depth}b" for name, (depth, _) in members.items()}
    document = of_trainings(names, recipe, calibration)
    if params["minutes"]:  # it saves a checkpoint then, and ends
        document["seconds"] = min(document["seconds"], 60 * params["minutes"])
    return document


def of_judge(context: click.Context) -> dict:
    """The estimate of `stepimp judge`."""
    from stepimp.estimates.training_rates import judge_calibration
    from stepimp.quality.judge import FOLDER

    params = context.params
    recipe = recipe_of(params)
    calibration = judge_calibration(
        Path(params["folder"]).expanduser() / FOLDER,
        judge_shape(params),
        recipe,
        params["data"],
        params["vocab_size"],
        params["column"],
    )
    return of_trainings({"judge": "judge"}, recipe, calibration)


def of_trainings(names: dict[str, str], recipe: "Recipe", calibration: "Calibration") -> dict:
    """The sum of trainings, one after the other. names: member -> model whose rates it has."""
    training = calibration.training(recipe)
    all_rates = [calibration.models[model] for model in names.values()]
    kept = sum(
        training.kept_bytes(rates.model_bytes, rates.checkpoint_bytes) for rates in all_rates
    )
    warmup = calibration.startup + sum(rates.warmup for rates in all_rates)
    return {
        "steps": {name: recipe.steps for name in names},
        "forwards": {name: training.forwards for name in names},
        "flops": sum(training.flops(rates.costs) for rates in all_rates),
        "seconds": calibration.startup + sum(rates.seconds(training) for rates in all_rates),
        "warmup_seconds": warmup,
        "processes": 1,
        "memory_bytes": calibration.memory,
        "disk_bytes": round(kept),
        "checkpoint_bytes": round(
            max(training.scratch_bytes(rates.checkpoint_bytes) for rates in all_rates)
        ),
    }


def of_evaluate(context: click.Context) -> dict:
    """The estimate of `stepimp evaluate`."""
    from dataclasses import fields

    workers = workers_of(context)  # before torch counts its threads
    from stepimp.estimates.scoring import scoring
    from stepimp.quality.evaluation import EvaluateOptions

    names = [field.name for field in fields(EvaluateOptions)]
    params = context.params
    cost = scoring(EvaluateOptions(**{name: params[name] for name in names}))
    return {
        "forwards": {"judge": cost.forwards},
        "texts_scored": cost.texts,
        "flops": cost.flops,
        "seconds": cost.seconds(workers),
        "processes": workers,
        "memory_bytes": cost.memory,
        "disk_bytes": round(cost.bytes),
    }


TIMED = {"train": of_train, "judge": of_judge, "evaluate": of_evaluate}
"""Commands whose work is timed by running a part of it -> their estimate."""
