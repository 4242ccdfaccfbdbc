"""`stepimp generate`: text with a schedule."""

from contextlib import contextmanager, nullcontext
from pathlib import Path

import click

from ._options import model_options
from ._print import print_json
from ._progress import progress, status, stderr
from ._recommend import recommend_now


@click.command()
@click.option(
    "--schedule",
    help="Such as L125,H750,L125 or 4b:250,12b:750.  [default: the newest recommendation]",
)
@click.option("--heavy", help="The model H stands for.  [default: the deepest of the family]")
@click.option("--light", help="The model L stands for.  [default: the shallowest of the family]")
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
    help="exact: float64 Gumbel-max. mdlm: the published sampler, for comparison with published "
    "numbers only: bf16 log-probabilities and 32-bit Gumbel noise over V+1 outcomes, which cuts "
    "off unlikely tokens and so lowers gen-PPL and entropy; it is also many times slower.",
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
    prefix alone, not on the batch size or a restart. A killed run is resumed by the same command.

    \b
    Example:
      stepimp generate --schedule L125,H750,L125 --samples 16 --prefix "The module "
    """
    if watch and precision == "mdlm":
        raise click.BadParameter("--watch needs --precision exact.", param_hint="--watch")
    from stepimp.models.family import family_folder
    from stepimp.models.loading import load
    from stepimp.results import results_folder
    from stepimp.sampling.generated import expect_weights, generate_document
    from stepimp.schedules.schedule import parse

    results_folder(out)
    expected = {}
    if schedule is None:
        advice = newest_recommendation(
            out, dict(family=family, device=device, dtype=dtype, attn=attn)
        )
        schedule, params = advice["rows"][0]["schedule"], advice["params"]
        heavy, family = params["heavy"], params["family"]
        light = min(params["lights"], key=advice["blocks"].get)
        expected = advice["provenance"]["fingerprints"]["models"]
    else:
        heavy, light = letters(heavy, light, family_folder(family))
    plan = parse(schedule, heavy, light, steps)
    status("Loading models ...")
    members = load(plan.models, family_folder(family), device, dtype, attn)
    expect_weights(members, expected)
    with progress("tokens") as moved, watching(members, plan) if watch else nullcontext() as show:
        document, texts = generate_document(
            members,
            plan,
            out,
            heavy=heavy,
            light=light,
            samples=samples,
            length=length,
            prefix=prefix,
            precision=precision,
            seed=seed,
            dtype=dtype,
            family=family,
            batch_size=batch_size,
            watch=show,
            progress=moved,
        )
    if as_json:
        return print_json(document)
    for text in texts:
        click.secho(f"--- {text['index']}", dim=True)
        click.echo(text["text"])
    click.echo(summary(document, plan.steps))


def letters(heavy, light, folder) -> tuple[str | None, str | None]:
    """The models H and L stand for, None where neither the options nor the family say."""
    from stepimp.errors import StepimpError
    from stepimp.models.family import default_members

    if heavy and light:
        return heavy, light
    try:
        deepest, shallowest = default_members(folder)
    except StepimpError:  # a schedule may name its models; one with letters is refused when parsed
        return heavy, light
    return heavy or deepest, light or shallowest


def newest_recommendation(out, models) -> dict:
    """The newest recommendation for the family, made now if there is none.

    models: the options family, device, dtype and attn.
    """
    from stepimp.models.family import recorded
    from stepimp.results import newest

    family = recorded(models["family"])
    document = newest(out, "recommend", lambda made: made["params"]["family"] == family)
    if document is None:
        status("No recommendation yet: making one first.")
        document = recommend_now(models, out)
    return document


def summary(document: dict, steps: int) -> str:
    """What was drawn, how fast, and where it is."""
    params, cost = document["params"], document["cost"]
    return (
        f"{params['samples']} samples with {params['schedule']}: "
        f"{cost['tokens'] / cost['seconds']:,.0f} tokens/s, {cost['forwards']} forward passes "
        f"where T x samples is {steps * params['samples']} -> "
        f"{Path(document['path']).with_suffix('.jsonl')}"
    )


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

    with Live(console=stderr(), refresh_per_second=20) as live:
        yield show
