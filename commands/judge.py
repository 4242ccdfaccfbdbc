"""`stepimp judge`: a small language model to score generated text with."""

from functools import partial

import click

from ._long import confirm_training
from ._options import (
    BELOW_ONE,
    MOST_VOCABULARY,
    SEED,
    choice_option,
    count_option,
    json_option,
    number_option,
    training_data_option,
    yes_option,
)
from ._print import print_json
from ._progress import status
from ._training import command_line, judge_shape, optimizer_options, recipe_of


@click.command()
@click.argument("folder", type=click.Path(file_okay=False))
@training_data_option
@number_option("--seed", type=SEED, default=1, help="Seed of the training.")
@count_option("--layers", default=4, help="Layers of the model.")
@count_option("--width", default=128, help="Width of the model.")
@count_option("--heads", default=4, help="Attention heads.")
@count_option("--context", default=256, help="Tokens it reads at once.", least=2)
@number_option("--dropout", type=BELOW_ONE, default=0.1, help="In training.")
@number_option(
    "--vocab-size",
    type=click.IntRange(260, MOST_VOCABULARY),
    default=1024,
    help="Size of its own BPE.",
)
@count_option("--steps", default=700, help="Steps of the training.")
@count_option("--batch-size", default=8, help="Sequences per step and process.")
@optimizer_options("layers", muon_lr=0.02, adamw_lr=0.01, warmup=50, ema=0.99, save_every=200)
@click.option("--bf16", is_flag=True, help="Mixed precision.")
@choice_option(
    "--weights",
    choices=["float32", "float16", "bfloat16"],
    default="float16",
    help="Dtype of the stored weights.",
)
@json_option("Print the recipe as JSON on stdout and nothing else.")
@yes_option
def judge(
    folder,
    data,
    column,
    seed,
    layers,
    width,
    context,
    vocab_size,
    as_json,
    yes,
    **_,
):
    """Train a judge for the family in FOLDER.

    A judge is a small language model of GPT-2's architecture, in FOLDER/judge. It scores generated
    text where no published language model knows the corpus, as GPT-2 does for web text, and is the
    default --judge of the family. Its recipe and its loss on held-out text, up to 4 million tokens
    of it, are in recipe.json beside the weights. A killed training resumes from its last
    checkpoint, and a finished judge is left alone.

    \b
    Example:
      stepimp judge runs/docs --data docs
    """
    params = click.get_current_context().params
    shape, recipe = judge_shape(params), recipe_of(params)
    status("Reading the text ...")
    from pathlib import Path

    from stepimp.errors import StepimpError
    from stepimp.quality.judge import FOLDER
    from stepimp.training.judge import RECIPE, train_judge

    from ._training_progress import training_progress

    if not Path(folder).expanduser().is_dir():
        raise StepimpError(
            f"There is no folder {folder}: train a family with stepimp train {folder} first."
        )
    confirm_training(
        [] if (Path(folder) / FOLDER / RECIPE).exists() else [layers],
        {"width": width, "length": context, "cond_dim": 0, "vocab_size": vocab_size},
        params,
        yes,
    )
    with training_progress() as shown:
        facts = train_judge(
            Path(folder),
            shape,
            recipe,
            data,
            vocab_size,
            seed,
            command=command_line(),
            callbacks=[shown] if shown else [],
            column=column,
            progress=partial(shown.measured, FOLDER) if shown else False,
        )
    if not shown:
        return
    if as_json:
        return print_json(facts)
    click.echo(
        f"{facts['parameters']:,} parameters, held-out loss {facts['heldout_nats_per_token']:.4f} "
        f"nats per token -> {Path(folder) / FOLDER}"
    )
