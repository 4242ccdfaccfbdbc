"""`stepimp loss`: how much the models' cross-entropies differ at each t."""

import click

from ._curves import chosen_options, curve_options, measure_curves
from ._print import banded, print_curves, print_json, print_table


@click.command()
@curve_options
def loss(device, attn, out, as_json, **options):
    """Difference of the masked cross-entropies of light and heavy over t, on the same corrupted
    inputs.

    Formula (5) of the paper: the mean over sequences of |CE_L - CE_H| in nats, and the signed mean,
    with 95% bands by bootstrap over sequences. From the same numbers the NELBO (10) of each model,
    the baseline's too. `stepimp kl` with the same options shows the same measurement: whichever
    comes second runs no model.

    \b
    Example:
      stepimp loss --heavy 12b --light 4b --light 8b --baseline 12b_seed2
    """
    document = measure_curves(chosen_options(**options), device, attn, out)
    if as_json:
        return print_json(document)
    rows = document["rows"]
    print_curves("|CE_light - CE_heavy|, nats", rows, "loss_abs_diff_nats")
    print_curves("CE_light - CE_heavy, nats", rows, "loss_diff_nats")
    nelbo = [
        [row["model"], banded(row, "nelbo_nats"), banded(row, "nelbo_diff_nats"), *deeper(row)]
        for row in document["nelbo"]
    ]
    columns = ["model", "NELBO", f"minus {document['params']['heavy']}", "minus the next", "deeper"]
    title = "NELBO, nats per token, and paired differences"
    print_table(title, columns, nelbo, spare=("minus the next", "deeper"))
    click.echo(f"{rows[-1]['sequences']} sequences -> {document['path']}")


def deeper(row: dict) -> list[str]:
    """The difference to the next deeper model, and its name."""
    return [banded(row, "deeper_diff_nats"), row["deeper"] or "-"]
