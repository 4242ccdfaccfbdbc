"""`stepimp loss`: how much the models' cross-entropies differ at each t."""

import click

from ._curves import curve_options, measure_curves
from ._print import print_curves, print_json


@click.command()
@curve_options
def loss(as_json, **options):
    """Difference of the masked cross-entropies of light and heavy over t, on the same corrupted inputs.

    Formula (5) of the paper: the mean over sequences of |CE_L - CE_H| in nats, and the signed mean, with 95% bands by
    bootstrap over sequences.

    \b
    Example:
      stepimp loss --heavy 12b --light 4b --light 8b
    """
    document = measure_curves("loss", **options)
    if as_json:
        return print_json(document)
    print_curves("|CE_light - CE_heavy|, nats", document["rows"], "loss_abs_diff_nats")
    print_curves("CE_light - CE_heavy, nats", document["rows"], "loss_diff_nats")
    click.echo(f"{document['rows'][-1]['sequences']} sequences -> {document['path']}")
