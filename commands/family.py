"""`stepimp family`: a family out of checkpoints from anywhere."""

import json

import click

from stepimp.wording import counted

from ._options import family_option, json_option
from ._print import or_dash, print_table

KEYS = ("name", "layout", "blocks", "block_flops", "seed", "fingerprint", "checkpoint")
FORMS = dict.fromkeys(KEYS, "{}") | {"block_flops": "{:.3g}"}
"""Field of a member -> how it is shown."""
HEADERS = {"name": "model", "block_flops": "FLOPs of a block (512 tokens)"}

folder_argument = click.argument("folder", type=click.Path(file_okay=False))


@click.group()
def family():
    """Make a family of checkpoints from anywhere, or show one.

    \b
    Example:
      stepimp family add runs/bert L12 google/bert_uncased_L-12_H-768_A-12
      stepimp family add runs/bert L4 google/bert_uncased_L-4_H-768_A-12
      stepimp kl --family runs/bert --heavy L12 --light L4
    """


@family.command()
@folder_argument
@click.argument("name")
@click.argument("checkpoint")
@click.option("--seed-of", metavar="NAME", help="The member that it is another seed of.")
@json_option("Print the member as JSON and nothing else.")
def add(folder, name, checkpoint, seed_of, as_json):
    """Add CHECKPOINT to the family in FOLDER under NAME.

    CHECKPOINT is a Hugging Face folder or id, a .ckpt of the MDLM trainer, or a .safetensors file.
    It must share the members' tokenizer, mask token, shift and noise schedule. Its weights stay
    where they are.

    \b
    Example:
      stepimp family add runs/mine 12b_seed2 outputs/last.ckpt --seed-of 12b
    """
    from pathlib import Path

    from stepimp.models.adding import add_member

    facts = add_member(Path(folder), name, checkpoint, seed_of)
    if as_json:
        return click.echo(json.dumps({"name": name} | facts))
    click.echo(
        f"{name}: {facts['layout']}, {counted(facts['blocks'], 'block')}, "
        f"{facts['parameters']:,} parameters, up to {facts['max_length']} tokens "
        f"-> {Path(folder) / 'family.json'}"
    )


@family.command()
@click.argument("folder", type=click.Path(file_okay=False), required=False)
@family_option
@json_option("Print the members as JSON and nothing else.")
def show(folder, family, as_json):
    """Show the layout, depth, block cost and weights of each member of the family in FOLDER.

    Without FOLDER it is the family of --family.

    \b
    Example:
      stepimp family show --family runs/mine
    """
    from stepimp.models.family import family_folder, members

    folder = family_folder(folder or family)
    listed = members(folder)
    if as_json:
        return click.echo(json.dumps(listed))
    costs = {member["block_flops"] for member in listed}
    forms = {key: form for key, form in FORMS.items() if key != "block_flops" or costs != {None}}
    rows = [[or_dash(member[key], form) for key, form in forms.items()] for member in listed]
    print_table(f"Family in {folder}", [HEADERS.get(key, key) for key in forms], rows)
    click.echo(
        "Saved FLOPs of a schedule: by the number of blocks, formula (3)."
        if len(costs) == 1
        else "Saved FLOPs of a schedule: by the FLOPs of all blocks, since widths differ."
    )
