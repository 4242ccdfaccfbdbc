"""`stepimp models`: what a model name can mean."""

import json

import click

from ._print import print_table


@click.command()
@click.option(
    "--family",
    type=click.Path(file_okay=False),
    envvar="STEPIMP_FAMILY",
    help="Folder of a trained family. [env: STEPIMP_FAMILY; default: the bundled family]",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the members as JSON on stdout and nothing else."
)
def models(family, as_json):
    """The members of the family: depth, parameters, seed, held-out NELBO and fingerprint of the
    weights.

    \b
    Example:
      stepimp models --family runs/docs
    """
    from stepimp.models.family import family_folder
    from stepimp.models.loading import members

    folder = family_folder(family)
    found = members(folder)
    if as_json:
        return click.echo(json.dumps(found))
    columns = ["model", "blocks", "parameters", "seed", "NELBO (nats/token)", "fingerprint"]
    rows = [
        [
            m["name"],
            str(m["blocks"]),
            f"{m['parameters']:,}",
            str(m["seed"]),
            f"{m['heldout_nelbo_nats']:.4f}",
            m["fingerprint"],
        ]
        for m in found
    ]
    print_table(f"Family in {folder}", columns, rows)
