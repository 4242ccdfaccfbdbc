"""What commands share that need a recommendation."""

from ._curves import curves_document, curves_for
from ._progress import progress


def recommend_now(models: dict, out, *, curves=None, by="kl", heavy=None, lights=(), **options):
    """A recommendation, written to the folder `out`, from the curves of a file, else the newest,
    else those measured now.

    models: the options family, device, dtype and attn. options: those of
    `quality.recommendation.recommendation`.
    """
    from stepimp.quality.recommendation import recommendation
    from stepimp.results import results_folder

    results_folder(out)
    document = curves_document(curves) if curves else curves_for(by, heavy, lights, models, out)
    options |= dict(by=by, heavy=heavy, lights=lights)
    if not options.get("verification"):
        return recommendation(document, out, **options)
    with progress("batches of samples") as moved:
        return recommendation(document, out, progress=moved, **options)
