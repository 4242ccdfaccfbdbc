"""`stepimp kl`: how far the models' predictions lie apart at each t."""

import click

from ._curves import curve_options, measure_curves
from ._print import print_curves, print_json


@click.command()
@curve_options
def kl(as_json, **options):
    """KL(heavy || light) over t on the same corrupted inputs, raw and relative to another seed of
    the heavy model.

    Formula (6) of the paper: the mean over masked positions, in nats, with 95% bands by bootstrap
    over sequences. All light models share one pass.

    \b
    Example:
      stepimp kl --heavy 12b --light 4b --light 8b --baseline 12b_seed2
    """
    document = measure_curves("kl", **options)
    if as_json:
        return print_json(document)
    print_curves("KL(heavy || light), nats", document["rows"], "kl_nats")
    if "relative_kl_nats" in document["rows"][0]:
        title = "Relative KL, KL(heavy || light) - KL(heavy || baseline), nats"
        print_curves(title, document["rows"], "relative_kl_nats")
    click.echo(f"{document['rows'][-1]['sequences']} sequences -> {document['path']}")
