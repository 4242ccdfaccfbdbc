"""`stepimp kl`: how far the models' predictions lie apart at each t."""

import click

from stepimp.wording import counted

from ._curves import chosen_options, curve_options, measure_curves
from ._print import print_curves, print_json
from ._workers import workers_option


@click.command()
@curve_options
@workers_option
def kl(device, attn, out, as_json, yes, **options):
    """KL(heavy || light) over t, raw and relative to a baseline.

    The baseline is another seed of the heavy model; all models see the same corrupted inputs.
    Formula (6) of the paper: the mean over masked positions, in nats, with 95% bands by bootstrap
    over sequences. All light models share one pass, and `stepimp loss` with the same options shows
    the same measurement: whichever comes second runs no model.

    \b
    Example:
      stepimp kl --heavy 12b --light 4b --light 8b --baseline 12b_seed2
    """
    document = measure_curves(chosen_options(device=device, yes=yes, **options), device, attn, out)
    if as_json:
        return print_json(document)
    rows = document["rows"]
    print_curves("KL(heavy || light), nats per masked token", rows, "kl_nats")
    if "relative_kl_nats" in rows[0]:
        title = "Relative KL, KL(heavy || light) - KL(heavy || baseline), nats per masked token"
        print_curves(title, rows, "relative_kl_nats")
    click.echo(f"{counted(rows[-1]['sequences'], 'sequence')} -> {document['path']}")
