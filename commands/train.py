"""`stepimp train`: a family of depths and seeds."""

import shlex
import sys
from contextlib import nullcontext

import click

from stepimp.launcher import launched

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
from ._progress import progress_bar, status
from ._training import family_shape, recipe_of


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
@number_option(
    "--muon-lr", type=POSITIVE, default=0.015, help="Peak rate of Muon, for the blocks' matrices."
)
@number_option(
    "--adamw-lr", type=POSITIVE, default=0.007, help="Peak rate of AdamW, for everything else."
)
@count_option("--warmup", default=100, help="Steps of linear warm-up.")
@number_option(
    "--ema",
    type=BELOW_ONE,
    default=0.999,
    help="Decay of the averaged weights, which are the ones kept.",
)
@count_option("--save-every", default=500, help="Steps between checkpoints.")
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
    length,
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
    torchrun --nproc-per-node 2 -m stepimp train ... On a CPU, models of this size train fastest
    with OMP_NUM_THREADS=1, --bf16 and --compile, where length, width and width per head are
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
    from pathlib import Path

    from stepimp.training.callbacks import Deadline
    from stepimp.training.family import train_family
    from stepimp.training.family_text import prepare_text

    from ._training_progress import TrainingProgress

    if prepare:
        counts = prepare_text(Path(prepare), data, length, tokenizer, vocab_size, column)
        if as_json:
            return print_json(counts | {"file": prepare})
        return click.echo(
            f"{counts['train']:,} training and {counts['heldout']:,} held-out sequences of "
            f"{length} tokens -> {prepare}"
        )
    confirm_training(
        missing_depths(Path(folder), depths, baseline_seed),
        {name: params[name] or 0 for name in ("width", "length", "cond_dim", "vocab_size")},
        params,
        yes,
    )
    command = shlex.join(["stepimp", *sys.argv[1:]])
    callbacks = [Deadline(minutes)] if minutes else []
    main_process = launched()[0] == 0
    with progress_bar(transient=False) if main_process else nullcontext() as bar:
        shown = TrainingProgress(bar) if main_process else None
        members = train_family(
            Path(folder),
            depths,
            seed,
            baseline_seed,
            shape,
            recipe,
            data,
            tokenizer,
            vocab_size,
            command,
            callbacks=[*callbacks, *([shown] if shown else [])],
            teacher=teacher,
            column=column,
            progress=shown.measured if shown else lambda name, done, total: None,
        )
        trained = []
        for name, nelbo in members:
            trained.append({"name": name, "heldout_nelbo_nats": nelbo})
            line = f"{name}: held-out NELBO {nelbo:.4f} nats per token -> {Path(folder) / name}"
            click.echo(line, err=as_json)
    if main_process and as_json:
        print_json({"folder": folder, "trained": trained})
    elif main_process:
        click.echo(f"The family is complete in {folder}.")
