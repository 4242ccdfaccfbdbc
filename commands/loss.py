"""`stepimp loss`: how much the models' cross-entropies differ at each t."""

import click

from ._curves import curve_options, measure_curves
from ._print import banded, print_curves, print_json, print_table


@click.command()
@curve_options
def loss(as_json, **options):
    """Difference of the masked cross-entropies of light and heavy over t, on the same corrupted
    inputs.

    Formula (5) of the paper: the mean over sequences of |CE_L - CE_H| in nats, and the signed mean,
    with 95% bands by bootstrap over sequences. From the same numbers the NELBO (10) of each model,
    with the baseline's where there is one.

    \b
    Example:
      stepimp loss --heavy 12b --light 4b --light 8b --baseline 12b_seed2
    """
    document = measure_curves("loss", **options)
    if as_json:
        return print_json(document)
    print_curves("|CE_light - CE_heavy|, nats", document["rows"], "loss_abs_diff_nats")
    print_curves("CE_light - CE_heavy, nats", document["rows"], "loss_diff_nats")
    print_table(
        "NELBO, nats per token, and paired differences",
        ["model", "NELBO", f"minus {document['params']['heavy']}", "minus the next deeper"],
        [
            [
                row["model"],
                *(banded(row, name) for name in ("nelbo_nats", "nelbo_diff_nats")),
                deeper(row),
            ]
            for row in document["nelbo"]
        ],
    )
    click.echo(f"{document['rows'][-1]['sequences']} sequences -> {document['path']}")


def deeper(row: dict) -> str:
    return f"{banded(row, 'deeper_diff_nats')} ({row['deeper']})" if row["deeper"] else "-"
