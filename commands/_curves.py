"""What `loss` and `kl` share, and `recommend` falls back on: measuring curves and writing them down."""

from pathlib import Path

import click

from ._options import data_option, model_options, together
from ._progress import progress, status

curve_options = together(
    click.option("--heavy", default="12b", show_default=True, help="The large model."),
    click.option("--light", "lights", multiple=True, default=("4b",), show_default=True, help="A smaller one; repeatable."),
    click.option("--baseline", help="The heavy model trained from another seed, such as 12b_seed2."),
    data_option,
    click.option("--split", type=click.Choice(["heldout", "all"]), default="heldout", show_default=True,
                 help="Documents that training never saw, or all of them."),
    click.option("--inputs", type=click.Choice(["text", "samples"]), default="text", show_default=True,
                 help="Corrupt held-out text, or the heavy model's own samples, for which the path KL is exact."),
    click.option("--sequences", type=click.IntRange(min=2), default=200, show_default=True, help="Sequences to average over."),
    click.option("--until", type=click.FloatRange(min=0, min_open=True),
                 help="Keep drawing sequences until the 95% band of the relative KL is this narrow, in nats (plus or minus)."),
    click.option("--repeats", type=click.IntRange(min=1), default=1, show_default=True, help="Corruptions per sequence."),
    click.option("--points", type=click.IntRange(min=1), default=20, show_default=True, help="Times t, equally spaced up to 1."),
    click.option("--length", type=click.IntRange(min=1), help="Tokens per sequence.  [default: the models' maximum]"),
    click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Sequences per forward pass."),
    model_options,
)  # fmt: skip


def measure_curves(command, *, heavy, lights, baseline, data, split, inputs, sequences, until, repeats, points, length,
                   batch_size, family, device, dtype, attention, seed, out, as_json=False) -> dict:  # fmt: skip
    """Runs the measurement behind a command and returns its document, with rows of that command."""
    lights = tuple(dict.fromkeys(lights))
    if heavy in lights:
        raise click.BadParameter(f"{heavy} is the heavy model: choose another light one.", param_hint="--light")
    if baseline in (heavy, *lights):
        raise click.BadParameter(f"{baseline} is already heavy or light.", param_hint="--baseline")
    if until and not baseline and command == "kl":
        status("No --baseline: --until watches the raw KL.")
    status("Loading models ...")
    from stepimp import curves
    from stepimp.family import family_folder, load
    from stepimp.results import Run, results_folder

    results_folder(out)
    members = load([heavy, *lights, *([baseline] if baseline else [])], family_folder(family), device, dtype, attention)
    for light in lights:
        if members.blocks[light] > members.blocks[heavy]:
            click.echo(f"Warning: {light} is deeper than the heavy model {heavy}.", err=True)
    length = length or members.any.max_length
    params = dict(heavy=heavy, lights=list(lights), baseline=baseline, data=data, split=split, inputs=inputs,
                  sequences=sequences, until=until, repeats=repeats, points=points, length=length, batch_size=batch_size,
                  seed=seed, dtype=dtype, family=str(Path(family).resolve()) if family else None)  # fmt: skip
    tokens, uniforms, noise, fingerprint = curve_inputs(members, params)
    run = Run(out, command, params, {"models": members.fingerprints, "data": fingerprint}, members.any.device, dtype)
    with progress(f"{command}: sequences") as moved:
        found = curves.measure(
            members.denoisers, heavy, lights, baseline, tokens, curves.time_grid(points), seed, uniforms=uniforms,
            noise=noise, repeats=repeats, batch_size=batch_size, journal=run.journal(), until=until, progress=moved,
        )  # fmt: skip
    rows = {"kl": curves.kl_rows, "loss": curves.loss_rows}[command](found, seed)
    return run.finish(rows, blocks=members.blocks, measurements=found.pack())


def curve_inputs(members, params):
    """Clean tokens, the uniforms and noise schedule to corrupt them with (None: drawn, the family's), a fingerprint."""
    import torch

    from stepimp import randomness
    from stepimp.data import load_blocks
    from stepimp.errors import StepimpError
    from stepimp.noise import NoiseSchedule

    length, sequences, seed = params["length"], params["sequences"], params["seed"]
    longest = min(model.max_length for model in members.denoisers.values())
    if length > longest:
        raise StepimpError(f"--length {length} is over the models' maximum of {longest}.")
    if params["inputs"] == "samples":
        from stepimp.sampler import sample
        from stepimp.schedule import Schedule

        status("Sampling from the heavy model ...")
        # The uniforms that choose the unmasking steps also say what is still masked at t = i/T.
        tokens = sample(members.denoisers, Schedule.of([params["heavy"]] * 1000), range(sequences), length, seed=seed)
        uniforms = torch.from_numpy(randomness.uniforms(seed, randomness.UNMASK_STEP, range(sequences), length))
        return tokens.cpu(), uniforms, NoiseSchedule("linear"), f"samples of {params['heavy']}"
    blocks = load_blocks(params["data"], members.tokenizer, length, params["split"])
    order = randomness.generator(seed, randomness.DATA).permutation(len(blocks.tokens))
    if params["until"] is None:
        if len(order) < sequences:
            click.echo(f"Only {len(order)} sequences of {length} tokens in {params['data']} ({params['split']}).", err=True)
        order = order[:sequences]
    return blocks.tokens[torch.as_tensor(order)], None, None, blocks.fingerprint
