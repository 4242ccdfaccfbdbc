"""What commands share that need a recommendation."""

import click

from stepimp.models.options import ModelOptions

from ._curves import chosen_curves
from ._progress import progress

save_option = click.option(
    "--save",
    type=click.Path(dir_okay=False),
    help="Also write the recommended schedule alone to this file, as JSON that other code can run "
    "(docs/plans.md).",
)


def recommend_masked_now(
    models: ModelOptions, *, curves=None, by="kl", heavy=None, lights=(), **options
) -> dict:
    """A recommendation over the number of masked positions, written to the results folder, from the
    curves of a file, else the newest, else those measured now.

    options: those of `quality.planned.masked_recommendation`.
    """
    from stepimp.quality.planned import masked_recommendation

    document = chosen_curves(models, curves, by, heavy, lights, by_masked=True)
    return masked_recommendation(document, models.out, by=by, heavy=heavy, lights=lights, **options)


def recommend_now(
    models: ModelOptions, *, curves=None, by="kl", heavy=None, lights=(), **options
) -> dict:
    """A recommendation, written to the results folder, from the curves of a file, else the newest,
    else those measured now.

    options: those of `quality.recommendation.recommendation`.
    """
    from stepimp.quality.recommendation import recommendation

    document = chosen_curves(models, curves, by, heavy, lights)
    options |= dict(by=by, heavy=heavy, lights=lights)
    what = "batches of samples" if options.get("verification") else "search of the best schedule"
    with progress(what) as report:
        return recommendation(document, models.out, progress=report, **options)
