"""`stepimp generate`: text with a schedule."""

import json
import sys
import time
from contextlib import contextmanager, nullcontext, redirect_stdout

import click

from ._options import model_options
from ._print import print_json
from ._progress import progress, status, stderr


@click.command()
@click.option(
    "--schedule",
    help="Such as L125,H750,L125 or 4b:250,12b:750.  [default: the newest recommendation]",
)
@click.option("--heavy", default="12b", show_default=True, help="The model H stands for.")
@click.option("--light", default="4b", show_default=True, help="The model L stands for.")
@click.option("--steps", type=click.IntRange(min=1), help="T, to check the schedule against.")
@click.option(
    "--samples", type=click.IntRange(min=1), default=4, show_default=True, help="How many texts."
)
@click.option(
    "--length", type=click.IntRange(min=1), help="Tokens per text.  [default: the models' maximum]"
)
@click.option("--prefix", default="", help="Text that each sample starts with.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Sequences per forward pass.",
)
@click.option(
    "--precision",
    type=click.Choice(["exact", "mdlm"]),
    default="exact",
    show_default=True,
    help="exact: float64 Gumbel-max. mdlm: the published sampler, for comparison with published numbers only: bf16 "
    "log-probabilities and 32-bit Gumbel noise over V+1 outcomes, which cuts off unlikely tokens and so lowers "
    "gen-PPL and entropy; it is also many times slower.",
)
@click.option("--watch", is_flag=True, help="Show the first sample filling in as it denoises.")
@model_options
def generate(
    schedule,
    heavy,
    light,
    steps,
    samples,
    length,
    prefix,
    batch_size,
    precision,
    watch,
    family,
    device,
    dtype,
    attn,
    seed,
    out,
    as_json,
):
    """Generate text with a model schedule, and save it as JSON Lines.

    Sampling is exact: a sample depends on the seed, its index, the models, the schedule and the
    prefix alone, not on the batch size or a restart. A killed run goes on where it was.

    \b
    Example:
      stepimp generate --schedule L125,H750,L125 --samples 16 --prefix "The module "
    """
    from stepimp.schedules.schedule import parse

    if schedule is None:
        schedule, heavy, light, family, expected = recommended(out, family)
    else:
        expected = {}
    plan = parse(schedule, heavy, light, steps)
    if watch and precision == "mdlm":
        raise click.BadParameter("--watch needs --precision exact.", param_hint="--watch")
    status("Loading models ...")
    from stepimp.errors import StepimpError
    from stepimp.models.family import family_folder, recorded
    from stepimp.models.loading import load
    from stepimp.results import Run, results_folder, write_atomically
    from stepimp.sampling import generate

    results_folder(out)
    members = load(plan.models, family_folder(family), device, dtype, attn)
    for name, weights in members.fingerprints.items():
        if expected.get(name, weights) != weights:
            raise StepimpError(
                f"The newest recommendation was made for other weights of {name}: run stepimp recommend again."
            )
    length = length or min(model.max_length for model in members.denoisers.values())
    params = dict(
        schedule=plan.format(heavy, light),
        heavy=heavy,
        light=light,
        samples=samples,
        length=length,
        prefix=prefix,
        precision=precision,
        seed=seed,
        dtype=dtype,
        family=recorded(family),
    )
    run = Run(out, "generate", params, {"models": members.fingerprints}, members.any.device, dtype)
    started = time.perf_counter()
    with progress("tokens") as moved, watching(members, plan) if watch else nullcontext() as show:
        texts, counts = generate.generate(
            members,
            plan,
            samples,
            length,
            seed=seed,
            journal=run.journal(),
            prefix=prefix,
            precision=precision,
            batch_size=batch_size,
            watch=show,
            progress=moved,
        )
    seconds = time.perf_counter() - started
    lines = run.path.with_suffix(".jsonl")
    write_atomically(lines, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in texts))
    tokens, forwards = counts.tokens.total(), counts.forwards.total()
    cost = {"tokens": tokens, "forwards": forwards, "batches": counts.batches, "seconds": seconds}
    row = {
        "schedule": params["schedule"],
        "samples": samples,
        "length": length,
        "samples_file": lines.name,
    }
    document = run.finish([row], cost=cost)
    if as_json:
        return print_json(document)
    for one in texts:
        click.secho(f"--- {one['index']}", dim=True)
        click.echo(one["text"])
    click.echo(
        f"{samples} samples with {params['schedule']}: {tokens / seconds:,.0f} tokens/s, {forwards} forward passes "
        f"where T x samples is {plan.steps * samples} -> {lines}"
    )


def recommended(out, family):
    """Schedule, heavy, light, family and weights' fingerprints of the newest recommendation, made
    if there is none.
    """
    from stepimp.models.family import recorded
    from stepimp.results import newest

    from .recommend import recommend

    def find():
        return newest(
            out, "recommend", lambda document: document["params"]["family"] == recorded(family)
        )

    if not find():
        status("No recommendation yet: making one first.")
        options = ["--out", str(out), *(["--family", family] if family else [])]
        with recommend.make_context("recommend", options) as context, redirect_stdout(sys.stderr):
            recommend.invoke(context)
    document = find()
    params = document["params"]
    light = min(params["lights"], key=document["blocks"].get)
    weights = document["provenance"]["fingerprints"]["models"]
    return document["rows"][0]["schedule"], params["heavy"], light, params["family"], weights


@contextmanager
def watching(members, plan):
    """A live view of one sample; yields the function that shows its tokens."""
    from rich.live import Live
    from rich.text import Text

    from stepimp.sampling.generate import masked_runs

    def show(step, model, tokens):
        text = Text.assemble((f"step {step} of {plan.steps}, {model}\n", "dim"))
        for masked, run in masked_runs(tokens, members.any.mask_id):
            text.append(
                "░" * len(run) if masked else members.tokenizer.decode(run),
                style="dim" if masked else "",
            )
        live.update(text)

    with Live(console=stderr, refresh_per_second=20) as live:
        yield show
