"""`stepimp models`: what a model name can mean."""

import json

import click

from ._options import family_option, json_option
from ._print import or_dash, print_table


@click.command()
@family_option
@json_option("Print the members as JSON on stdout and nothing else.")
def models(family, as_json):
    """List the members of the family.

    Depth, parameters, seed, held-out NELBO and fingerprint of the weights.

    \b
    Example:
      stepimp models --family runs/docs
    """
    from stepimp.models.family import family_folder, members

    folder = family_folder(family)
    listed = members(folder)
    if as_json:
        return click.echo(json.dumps(listed))
    columns = ["model", "blocks", "parameters", "seed", "NELBO (nats/token)", "fingerprint"]
    rows = [
        [
            member["name"],
            str(member["blocks"]),
            or_dash(member["parameters"], "{:,}"),
            or_dash(member["seed"]),
            or_dash(member["heldout_nelbo_nats"], "{:.4f}"),
            or_dash(member["fingerprint"]),
        ]
        for member in listed
    ]
    print_table(f"Family in {folder}", columns, rows)
