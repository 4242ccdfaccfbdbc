"""`stepimp convert`: any checkpoint that loads, as a Hugging Face folder."""

import click

from ._options import choice_option, json_option


@click.command()
@click.argument("checkpoint")
@click.argument("folder", type=click.Path(file_okay=False))
@choice_option(
    "--dtype",
    choices=["float32", "bfloat16", "float16"],
    default="float32",
    help="Dtype of the written weights.",
)
@json_option("Print what was written as JSON and nothing else.")
def convert(checkpoint, folder, dtype, as_json):
    """Write a checkpoint as a Hugging Face folder.

    CHECKPOINT is a .ckpt, a .safetensors file, a Hugging Face folder or id. A .ckpt of the MDLM
    trainer is written with its EMA weights. What is written loads strictly, here and by
    transformers.

    \b
    Example:
      stepimp convert outputs/last.ckpt runs/mine/12b
    """
    import json
    from pathlib import Path

    from stepimp.models.convert import convert as write

    digest = write(checkpoint, Path(folder).expanduser(), dtype)
    if as_json:
        return click.echo(json.dumps({"fingerprint": digest, "folder": folder}))
    click.echo(f"Weights {digest} -> {folder}")
