"""`stepimp convert`: any checkpoint that loads, as a Hugging Face folder."""

import click


@click.command()
@click.argument("checkpoint")
@click.argument("folder", type=click.Path(file_okay=False))
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Dtype of the written weights.",
)
def convert(checkpoint, folder, dtype):
    """Writes CHECKPOINT (a .ckpt, a .safetensors file, a folder or id) as a Hugging Face folder.

    A .ckpt of the MDLM trainer is written with its EMA weights. What is written loads strictly,
    here and by transformers.

    \b
    Example:
      stepimp convert outputs/last.ckpt runs/mine/12b
    """
    from pathlib import Path

    from stepimp.models.convert import convert as write

    digest = write(checkpoint, Path(folder).expanduser(), dtype)
    click.echo(f"Weights {digest} -> {folder}")
