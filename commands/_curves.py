"""What commands share that measure curves or need them: options, the measurement, the search for
curves that are there.
"""

import click

from stepimp.curves.options import MOST_SAMPLES, CurveOptions

from ._options import (
    FloatRange,
    chosen_members,
    data_option,
    heavy_option,
    lights_option,
    model_options,
    together,
    usage_errors,
)
from ._progress import progress, status

curve_options = together(
    heavy_option,
    lights_option,
    click.option(
        "--baseline", help="The heavy model trained from another seed, such as 12b_seed2."
    ),
    data_option,
    click.option(
        "--split",
        type=click.Choice(["heldout", "all"]),
        default=CurveOptions.split,
        show_default=True,
        help="Documents that training never saw, or all of them.",
    ),
    click.option(
        "--inputs",
        type=click.Choice(["text", "samples"]),
        default=CurveOptions.inputs,
        show_default=True,
        help="What is corrupted: text of --data, or text the heavy model samples in 1000 steps, "
        "masked as it was on the way. For samples the path KL is exact; --data and --split do not "
        "matter.",
    ),
    click.option(
        "--sequences",
        type=click.IntRange(min=2),
        default=CurveOptions.sequences,
        show_default=True,
        help="Sequences to average over.",
    ),
    click.option(
        "--until",
        type=FloatRange(min=0, min_open=True),
        metavar="NATS",
        help="Instead of --sequences: measure until the 95% band of the relative KL (without a "
        "baseline, of the KL) is nowhere wider than plus or minus NATS, to the end of the text or "
        f"to {MOST_SAMPLES} samples.",
    ),
    click.option(
        "--repeats",
        type=click.IntRange(min=1),
        default=CurveOptions.repeats,
        show_default=True,
        help="Corruptions per sequence.",
    ),
    click.option(
        "--points",
        type=click.IntRange(min=1),
        default=CurveOptions.points,
        show_default=True,
        help="Times t, equally spaced up to 1.",
    ),
    click.option(
        "--length",
        type=click.IntRange(min=1),
        help="Tokens per sequence.  [default: the models' maximum]",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=CurveOptions.batch_size,
        show_default=True,
        help="Sequences per forward pass.",
    ),
    model_options,
)


def chosen_options(heavy, lights, family, **options) -> CurveOptions:
    """The options of a command line, with the family's default members for those not named."""
    heavy, lights = chosen_members(heavy, lights, family)
    with usage_errors():
        return CurveOptions(heavy=heavy, lights=lights, family=family, **options)


def measure_curves(options: CurveOptions, device: str, attn: str, out) -> dict:
    """The curves document of these options, with a progress bar and what there is to say of it."""
    status("Loading models ...")
    from stepimp.sampling.curves import measure_curves

    with progress("sequences") as moved:
        document = measure_curves(options, out, device=device, attn=attn, progress=moved)
    for remark in remarks(document):
        click.echo(remark, err=True)
    return document


def remarks(document: dict) -> list[str]:
    """What is unusual about a measurement."""
    from stepimp.curves.measurements import Measurements
    from stepimp.curves.tables import widest_band

    params, blocks = document["params"], document["blocks"]
    measurements = Measurements.unpack(document)
    unusual = []
    heavy, count, until = params["heavy"], measurements.sequences, params["until"]
    for light in params["lights"]:
        if blocks[light] > blocks[heavy]:
            unusual.append(f"Warning: {light} is deeper than the heavy model {heavy}.")
    if until is None and count < params["sequences"]:
        text = f"{params['data']} ({params['split']})"
        unusual.append(f"Only {count} sequences of {params['length']} tokens in {text}.")
    if until and (width := widest_band(measurements, params["seed"])) > until:
        unusual.append(
            f"All {count} sequences were used, and the band is still plus or minus {width:.2g} "
            "nats."
        )
    return unusual


def curves_document(path) -> dict:
    """The results document of curves in a file."""
    from stepimp.curves.document import read_curves

    return read_curves(path)


def curves_for(by, heavy, lights, models, out) -> dict:
    """The newest matching curves, measured now if there are none.

    by: "kl", "loss" or "nelbo", what the curves are for; models: the options family, device, dtype
    and attn. What is measured has the options of a bare `stepimp kl`, and another seed of the heavy
    model as its baseline where the family has one.
    """
    from dataclasses import replace

    from stepimp.curves.document import newest_curves
    from stepimp.models.family import family_folder, other_seed

    if document := newest_curves(out, by, heavy, lights, models["family"]):
        return document
    status("No matching curves yet: measuring them first.")
    options = chosen_options(heavy, lights, models["family"], dtype=models["dtype"])
    baseline = other_seed(family_folder(options.family), options.heavy)
    options = replace(options, baseline=None if baseline in options.models else baseline)
    return measure_curves(options, models["device"], models["attn"], out)


def check_weights(document: dict, weights: dict[str, str]):
    """Raises StepimpError unless the models named have the weights the curves were measured with.

    weights: model -> fingerprint.
    """
    from stepimp.curves.document import check_weights

    check_weights(document, weights)
