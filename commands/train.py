"""`stepimp train`: a family of depths and seeds."""

from pathlib import Path

import click

from ._long import confirm_training, missing_depths
from ._options import (
    BELOW_ONE,
    MOST_VOCABULARY,
    POSITIVE,
    SEED,
    choice_option,
    count_option,
    json_option,
    number_option,
    refuse,
    training_data_option,
    yes_option,
)
from ._print import print_json
from ._progress import status
from ._training import command_line, family_shape, optimizer_options, recipe_of


def depth_list(ctx, param, value):
    """The depths of an option such as 4,6,8."""
    try:
        depths = sorted({int(part) for part in value.split(",")})
    except ValueError:
        depths = []
    if not depths or depths[0] < 1:
        raise click.BadParameter(f"{value!r} is not a list of block counts such as 4,6,8,10,12.")
    return depths


@click.command()
@click.argument("folder", type=click.Path(file_okay=False))
@training_data_option
@click.option(
    "--prepare",
    type=click.Path(dir_okay=False),
    help="Only tokenise the text, into this file (.safetensors), which --data then takes in its "
    "place: on a machine without the text or the datasets library.",
)
@click.option(
    "--depths",
    default="4,6,8,10,12",
    show_default=True,
    callback=depth_list,
    help="Block counts to train.",
)
@number_option(
    "--seed",
    type=SEED,
    default=1,
    help="Seed of the family; each depth draws its own numbers from it.",
)
@click.option("--baseline-seed", type=SEED, help="Train the deepest once more from this seed.")
@count_option("--steps", default=20_000, help="Steps of each member.")
@count_option("--batch-size", default=32, help="Sequences per step and process.")
@count_option("--length", default=64, help="Tokens per sequence.", least=2)
@count_option("--width", default=64, help="Width of the model.", least=2)
@count_option("--heads", default=2, help="Attention heads.")
@count_option("--cond-dim", default=4, help="Width of the conditioning.")
@click.option("--time-conditioning", is_flag=True, help="Feed the noise level to the denoiser.")
@choice_option(
    "--noise",
    choices=["linear", "loglinear"],
    default="linear",
    help="linear: alpha_t = 1 - t. loglinear: MDLM's, which ends at 0.001.",
)
@number_option("--dropout", type=BELOW_ONE, default=0.0, help="In the blocks.")
@click.option(
    "--tokenizer",
    help="Tokenizer folder or hub id.  [default: a byte-level BPE trained on the data]",
)
@click.option(
    "--teacher",
    help="Folder or hub id of a denoiser: members learn its predictions, not the text's tokens.",
)
@click.option(
    "--vocab-size",
    type=click.IntRange(260, MOST_VOCABULARY),
    help="Size of that BPE; 260 reads bytes.  [default: 512]",
)
@optimizer_options("blocks", muon_lr=0.015, adamw_lr=0.007, warmup=100, ema=0.999, save_every=500)
@choice_option(
    "--schedule",
    choices=["cosine", "trapezoid"],
    default="cosine",
    help="Learning rate after the warm-up. trapezoid: constant, then down to 0 over the last "
    "fifth; the same command with more --steps then extends a training, finished or not.",
)
@count_option(
    "--snapshots",
    "snapshot_every",
    default=0,
    help="Every N steps keep the averaged weights as a model in FOLDER/NAME.snapshots/STEP.",
    least=0,
)
@click.option(
    "--minutes",
    type=POSITIVE,
    help="Save a checkpoint and stop after this time; the same command continues.",
)
@click.option("--bf16", is_flag=True, help="Mixed precision.")
@click.option(
    "--compile",
    is_flag=True,
    help="Run the blocks in their fastest way, which needs a C++ compiler or Triton.",
)
@choice_option(
    "--weights",
    choices=["float32", "float16", "bfloat16"],
    default="float32",
    help="Dtype of the stored weights.",
)
@json_option("Print the new members, or what --prepare wrote, as JSON on stdout and nothing else.")
@yes_option
def train(
    folder,
    prepare,
    depths,
    seed,
    baseline_seed,
    data,
    column,
    tokenizer,
    teacher,
    vocab_size,
    minutes,
    as_json,
    yes,
    **_,
):
    """Train a family of denoisers into FOLDER.

    It gets one Hugging Face folder per depth and seed. A killed training resumes from its last
    checkpoint when the same command runs again, and finished members are left alone. A
    member's NELBO is measured on all held-out sequences, or where they have more than 4 million
    tokens on that many, evenly spread; family.json says on how many sequences. Several processes:
    torchrun --nproc-per-node 2 -m stepimp train ... On a CPU, models of the default size train
    fastest with OMP_NUM_THREADS=1, --bf16 and --compile, where length, width and width per head are
    multiples of 32.

    \b
    Example:
      stepimp train runs/mine --data docs --depths 4,6,8,10,12 --baseline-seed 2
    """
    params = click.get_current_context().params
    shape, recipe = family_shape(params), recipe_of(params)
    if baseline_seed == seed:
        raise click.BadParameter(
            f"{seed} is the seed of the family: choose another.", param_hint="--baseline-seed"
        )
    if prepare and not prepare.endswith(".safetensors"):
        raise click.BadParameter(f"{prepare} must end in .safetensors.", param_hint="--prepare")
    if tokenizer:
        refuse(["vocab_size"], "does not count with --tokenizer: give one of them.")
    status("Reading the text ...")
    if prepare:
        return write_tokens(prepare, params)
    from stepimp.training.callbacks import Deadline
    from stepimp.training.family import train_family

    from ._training_progress import training_progress

    confirm_training(
        missing_depths(Path(folder), depths, baseline_seed),
        {name: params[name] or 0 for name in ("width", "length", "cond_dim", "vocab_size")},
        params,
        yes,
    )
    callbacks = [Deadline(minutes)] if minutes else []
    trained = []
    with training_progress() as shown:
        members = train_family(
            Path(folder),
            depths,
            seed,
            baseline_seed,
            shape,
            recipe,
            data,
            tokenizer_name=tokenizer,
            vocab_size=vocab_size,
            command=command_line(),
            callbacks=[*callbacks, *([shown] if shown else [])],
            teacher=teacher,
            column=column,
            progress=shown.measured if shown else False,
        )
        for name, nelbo in members:
            trained.append({"name": name, "heldout_nelbo_nats": nelbo})
            line = f"{name}: held-out NELBO {nelbo:.4f} nats per token -> {Path(folder) / name}"
            click.echo(line, err=as_json)
    if shown and as_json:
        print_json({"folder": folder, "trained": trained})
    elif shown:
        click.echo(f"The family is complete in {folder}.")


def write_tokens(file: str, params: dict):
    """Writes the tokens of `--prepare`, and says how many. params: of `stepimp train`."""
    from stepimp.training.family_text import prepare_text

    names = ("data", "length", "tokenizer", "vocab_size", "column")
    counts = prepare_text(Path(file), *(params[name] for name in names))
    if params["as_json"]:
        return print_json(counts | {"file": file})
    click.echo(
        f"{counts['train']:,} training and {counts['heldout']:,} held-out sequences of "
        f"{params['length']} tokens -> {file}"
    )
