"""What `loss` and `kl` share: measuring curves and writing them down; and how other commands find
them again.
"""

import click

from ._options import FloatRange, data_option, model_options, together
from ._progress import progress, status

MOST_SAMPLES = 10_000

curve_options = together(
    click.option("--heavy", default="12b", show_default=True, help="The large model."),
    click.option(
        "--light",
        "lights",
        multiple=True,
        default=("4b",),
        show_default=True,
        help="A smaller one; repeatable.",
    ),
    click.option(
        "--baseline", help="The heavy model trained from another seed, such as 12b_seed2."
    ),
    data_option,
    click.option(
        "--split",
        type=click.Choice(["heldout", "all"]),
        default="heldout",
        show_default=True,
        help="Documents that training never saw, or all of them.",
    ),
    click.option(
        "--inputs",
        type=click.Choice(["text", "samples"]),
        default="text",
        show_default=True,
        help="What is corrupted: held-out text, or text the heavy model samples in 1000 steps, masked as it was on "
        "the way. For samples the path KL is exact; --data and --split do not matter.",
    ),
    click.option(
        "--sequences",
        type=click.IntRange(min=2),
        default=200,
        show_default=True,
        help="Sequences to average over.",
    ),
    click.option(
        "--until",
        type=FloatRange(min=0, min_open=True),
        metavar="NATS",
        help="Instead of --sequences: go on until the 95% band of the relative KL (without a baseline, of the KL) is "
        f"nowhere wider than plus or minus so many nats, to the end of the text or to {MOST_SAMPLES} samples.",
    ),
    click.option(
        "--repeats",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Corruptions per sequence.",
    ),
    click.option(
        "--points",
        type=click.IntRange(min=1),
        default=20,
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
        default=32,
        show_default=True,
        help="Sequences per forward pass.",
    ),
    model_options,
)


def check_names(heavy, lights, baseline):
    """Each model has one part."""
    if heavy in lights:
        raise click.BadParameter(
            f"{heavy} is the heavy model: choose another light one.", param_hint="--light"
        )
    if baseline in (heavy, *lights):
        raise click.BadParameter(
            f"{baseline} is already heavy or light: choose another one.", param_hint="--baseline"
        )


def measure_curves(
    command,
    *,
    heavy,
    lights,
    baseline,
    data,
    split,
    inputs,
    sequences,
    until,
    repeats,
    points,
    length,
    batch_size,
    family,
    device,
    dtype,
    attn,
    seed,
    out,
    as_json=False,
) -> dict:
    """Runs the measurement behind a command and returns its document, with rows of that command."""
    lights = tuple(dict.fromkeys(lights))
    check_names(heavy, lights, baseline)
    if inputs == "samples" and repeats > 1:
        raise click.BadParameter(
            "a sample has one order of unmasking: use --repeats 1.", param_hint="--repeats"
        )
    status("Loading models ...")
    from stepimp.curves import measure
    from stepimp.models.family import corpus, family_folder, recorded
    from stepimp.models.loading import load
    from stepimp.results import Run, results_folder
    from stepimp.schedules.costs import nelbo_rows

    results_folder(out)
    data = data or corpus(family_folder(family))
    members = load(
        [heavy, *lights, *([baseline] if baseline else [])],
        family_folder(family),
        device,
        dtype,
        attn,
    )
    for light in lights:
        if members.blocks[light] > members.blocks[heavy]:
            click.echo(f"Warning: {light} is deeper than the heavy model {heavy}.", err=True)
    unlike_training = {
        name: model.trained_masking
        for name, model in members.denoisers.items()
        if model.trained_masking < 1
    }
    if unlike_training:
        names, share = ", ".join(unlike_training), max(unlike_training.values())
        click.echo(
            f"Warning: {names} saw at most {share:.0%} of the tokens masked in training: their "
            f"curves at t above {share:g} are outside of it.",
            err=True,
        )
    length = length or min(model.max_length for model in members.denoisers.values())
    params = dict(
        heavy=heavy,
        lights=list(lights),
        baseline=baseline,
        data=data,
        split=split,
        inputs=inputs,
        sequences=sequences,
        until=until,
        repeats=repeats,
        points=points,
        length=length,
        batch_size=batch_size,
        seed=seed,
        dtype=dtype,
        family=recorded(family),
    )
    corrupted, fingerprint = curve_inputs(members, params)
    run = Run(
        out,
        command,
        params,
        {"models": members.fingerprints, "data": fingerprint},
        members.any.device,
        dtype,
    )
    with progress(f"{command}: sequences") as moved:
        found = measure.measure(
            members.denoisers,
            heavy,
            lights,
            baseline,
            corrupted,
            measure.time_grid(points),
            seed,
            batch_size=batch_size,
            journal=run.journal(),
            until=until,
            progress=moved,
        )
    if until and (width := measure.widest_band(found, seed)) > until:
        click.echo(
            f"All {found.sequences} sequences were used, and the band is still plus or minus {width:.2g} nats.",
            err=True,
        )
    rows = {"kl": measure.kl_rows, "loss": measure.loss_rows}[command](found, seed)
    nelbo = nelbo_rows(found, members.blocks, seed)
    return run.finish(rows, nelbo=nelbo, blocks=members.blocks, measurements=found.pack())


def curve_inputs(members, params):
    """The inputs of a measurement and a fingerprint of where they come from."""
    import torch

    from stepimp import randomness
    from stepimp.curves.inputs import TextInputs, framed
    from stepimp.errors import StepimpError
    from stepimp.sampling.trajectories import SampleInputs
    from stepimp.text.blocks import load_blocks

    length, sequences, seed, heavy = (
        params["length"],
        params["sequences"],
        params["seed"],
        params["heavy"],
    )
    longest = min(model.max_length for model in members.denoisers.values())
    if length > longest:
        raise StepimpError(
            f"--length {length} is over the models' maximum of {longest}: choose a smaller one."
        )
    if params["inputs"] == "samples":
        count = sequences if params["until"] is None else MOST_SAMPLES
        return SampleInputs(
            members.denoisers, heavy, count, length, seed
        ), f"samples of {members.fingerprints[heavy]}"
    model = members.denoisers[heavy]
    inside = length - sum(map(len, model.frame))
    blocks = load_blocks(params["data"], members.tokenizer, inside, params["split"])
    order = randomness.generator(seed, randomness.DATA).permutation(len(blocks.tokens))
    if params["until"] is None:
        if len(order) < sequences:
            click.echo(
                f"Only {len(order)} sequences of {length} tokens in {params['data']} ({params['split']}).",
                err=True,
            )
        order = order[:sequences]
    tokens = blocks.tokens[torch.as_tensor(order)]
    tokens = framed(tokens, model.frame)
    return TextInputs(
        tokens, seed, model.noise, params["repeats"], model.special_ids
    ), blocks.fingerprint


def curves_document(path) -> dict:
    """A results document of `kl` or `loss`."""
    from stepimp.errors import StepimpError
    from stepimp.results import read_document

    document = read_document(path)
    if document["command"] not in ("kl", "loss"):
        raise StepimpError(
            f"{document['path']} holds no curves: give a results file of stepimp kl or loss."
        )
    return document


def curves_for(by, heavy, lights, models, out) -> dict:
    """The newest matching curves, measured now if there are none."""
    from stepimp.results import newest

    kinds = ("loss", "kl") if by == "loss" else ("kl",)
    documents = [
        newest(out, kind, lambda found: fits(found["params"], heavy, lights, models["family"]))
        for kind in kinds
    ]
    if any(documents):
        return max(filter(None, documents), key=lambda document: document["provenance"]["started"])
    status("No matching curves yet: measuring them first.")
    return measure_default_curves(kinds[0], heavy or "12b", lights or ("4b",), models, out)


def fits(measured: dict, heavy, lights, family) -> bool:
    """Whether curves with these params serve: they have the models asked for, of this family."""
    from stepimp.models.family import recorded

    same = measured["family"] == recorded(family)
    return same and heavy in (None, measured["heavy"]) and set(lights) <= set(measured["lights"])


def measure_default_curves(command, heavy, lights, models, out) -> dict:
    """Curves with the options a bare `stepimp kl` has, and another seed of the heavy model where
    the family has one.
    """
    from stepimp.models.family import family_folder, read_manifest

    from .kl import kl

    members = read_manifest(family_folder(models["family"]))["members"]
    seeds = sorted(name for name in members if name.startswith(f"{heavy}_seed"))
    defaults = kl.make_context("kl", []).params
    chosen = dict(heavy=heavy, lights=lights, baseline=seeds[0] if seeds else None, out=out)
    return measure_curves(command, **{**defaults, **models, **chosen})


def check_weights(document: dict, weights: dict[str, str]):
    """The models named have the weights the curves were measured with. weights: model ->
    fingerprint.
    """
    from stepimp.errors import StepimpError

    measured = document["provenance"]["fingerprints"]["models"]
    changed = [name for name, fingerprint in weights.items() if fingerprint != measured[name]]
    if changed:
        raise StepimpError(
            f"{document['path']} was measured with other weights of {', '.join(changed)}: run stepimp kl again."
        )
