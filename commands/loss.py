"""`stepimp loss`: how much the models' cross-entropies differ at each t."""

import click

from stepimp.wording import counted

from ._curves import chosen_options, curve_options, measure_curves
from ._print import banded, print_curves, print_json, print_table
from ._workers import workers_option


@click.command()
@curve_options
@workers_option
def loss(device, attn, out, as_json, yes, **options):
    """Difference of the cross-entropies of light and heavy over t.

    They are masked cross-entropies on the same corrupted inputs. Formula (5) of the paper: the mean
    over sequences of |CE_L - CE_H| in nats, and the signed mean, with 95% bands by bootstrap over
    sequences. From the same numbers the NELBO (10) of each model, the baseline's too. `stepimp kl`
    with the same options shows the same measurement: whichever comes second runs no model.

    \b
    Example:
      stepimp loss --heavy 12b --light 4b --light 8b --baseline 12b_seed2
    """
    document = measure_curves(chosen_options(device=device, yes=yes, **options), device, attn, out)
    if as_json:
        return print_json(document)
    rows = document["rows"]
    print_curves("|CE_light - CE_heavy|, nats", rows, "loss_abs_diff_nats")
    print_curves("CE_light - CE_heavy, nats", rows, "loss_diff_nats")
    title = "NELBO, nats per token, and paired differences to other models"
    heavy = document["params"]["heavy"]
    nelbo = [line for row in document["nelbo"] for line in nelbo_lines(row, heavy)]
    print_table(title, ["model", "NELBO", "difference", "to"], nelbo)
    click.echo(f"{counted(rows[-1]['sequences'], 'sequence')} -> {document['path']}")


def nelbo_lines(row: dict, heavy: str) -> list[list[str]]:
    """A model's NELBO with its differences to the heavy model and to the next deeper one."""
    differences = {heavy: "nelbo_diff_nats"} if row["model"] != heavy else {}
    if row["deeper"]:
        differences.setdefault(row["deeper"], "deeper_diff_nats")
    cells = [[banded(row, name), model] for model, name in differences.items()] or [["", ""]]
    names = [[row["model"], banded(row, "nelbo_nats")], *[["", ""]] * (len(cells) - 1)]
    return [name + cell for name, cell in zip(names, cells)]
