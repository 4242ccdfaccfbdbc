"""What commands share that measure curves or need them: the options and the measurement."""

from functools import partial

import click

from stepimp.curves.options import MOST_SAMPLES, CurveOptions
from stepimp.models.options import ModelOptions

from ._long import confirm
from ._options import (
    POINTS,
    POSITIVE,
    choice_option,
    chosen_members,
    count_option,
    data_option,
    full_name,
    heavy_option,
    lights_option,
    model_options,
    number_option,
    refuse,
    together,
    usage_errors,
    yes_option,
)
from ._progress import progress, status

curve_options = together(
    heavy_option,
    lights_option,
    click.option(
        "--baseline", help="The heavy model trained from another seed, such as 12b_seed2."
    ),
    data_option,
    choice_option(
        "--split",
        choices=["heldout", "all"],
        default=CurveOptions.split,
        help="Documents that training never saw, or all of them.",
    ),
    choice_option(
        "--inputs",
        choices=["text", "samples"],
        default=CurveOptions.inputs,
        help="What is corrupted: text of --data, or text the heavy model samples in 1000 steps, "
        "masked as it was on the way. For samples the path KL is exact; --data and --split do not "
        "matter.",
    ),
    count_option(
        "--sequences", default=CurveOptions.sequences, help="Sequences to average over.", least=2
    ),
    click.option(
        "--until",
        type=POSITIVE,
        metavar="NATS",
        help="Instead of --sequences: measure until the 95% band of the relative KL (without a "
        "baseline, of the KL) is nowhere wider than plus or minus NATS, to the end of the text or "
        f"to {MOST_SAMPLES} samples.",
    ),
    count_option("--repeats", default=CurveOptions.repeats, help="Corruptions per sequence."),
    number_option(
        "--points",
        type=POINTS,
        default=CurveOptions.points,
        help="Times t, equally spaced up to 1; with --by-masked numbers of masked positions.",
    ),
    click.option(
        "--by-masked",
        is_flag=True,
        help="Measure by the exact number of masked positions n instead of by t: n positions drawn "
        "at random are masked, from 1 to all of them. Schedules over n and plans need it.",
    ),
    click.option(
        "--length",
        type=click.IntRange(min=1),
        help="Tokens per sequence.  [default: the models' maximum]",
    ),
    count_option(
        "--batch-size", default=CurveOptions.batch_size, help="Sequences per forward pass."
    ),
    model_options,
    yes_option,
)


def chosen_options(heavy, lights, family, device, yes, **options) -> CurveOptions:
    """The options of a command line, with the family's default members for those not named.

    Refuses options that would not count, and asks before a long run.
    """
    if options["until"] is not None:
        refuse(["sequences"], "does not count with --until: give one of them.")
    heavy, lights = chosen_members(heavy, lights, family)
    options["baseline"] = full_name(options["baseline"], family)
    with usage_errors():
        chosen = CurveOptions(heavy=heavy, lights=lights, family=family, **options)
    confirm(vars(chosen) | {"device": device}, yes)
    return chosen


def measure_curves(options: CurveOptions, device: str, attn: str, out) -> dict:
    """The curves document of these options, with a progress bar and what there is to say of it."""
    status("Loading models ...")
    from stepimp.curves.document import remarks
    from stepimp.sampling.curves import measure_curves

    with progress("sequences") as report:
        document = measure_curves(options, out, device=device, attn=attn, progress=report)
    for remark in remarks(document):
        click.echo(remark, err=True)
    return document


def chosen_curves(
    models: ModelOptions, file: str | None, by: str, heavy, lights, by_masked: bool = False
) -> dict:
    """The curves document of a file, else the newest that matches, else one that is measured now.

    The other arguments are those of `sampling.curves.curves_for`.
    """
    from stepimp.curves.document import read_curves
    from stepimp.results import results_folder
    from stepimp.sampling.curves import curves_for

    results_folder(models.out)
    if file:
        return read_curves(file, by_masked)
    return curves_for(by, heavy, lights, models, partial(measure_first, models), by_masked)


def measure_first(models: ModelOptions, options: CurveOptions) -> dict:
    """`measure_curves` where another command runs its models, because no curves match."""
    status("No matching curves yet: measuring them first.")
    return measure_curves(options, models.device, models.attn, models.out)
