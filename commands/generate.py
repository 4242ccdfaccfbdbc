"""`stepimp generate`: text with a schedule."""

from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from stepimp.models.options import ModelOptions

from ._options import model_options
from ._print import print_json
from ._progress import progress, status, stderr
from ._recommend import recommend_now
from ._workers import workers_option


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
@workers_option
def generate(watch, as_json, **options):
    """Generate text with a model schedule, and save it as JSON Lines.

    Sampling is exact: a sample depends on the seed, its index, the models, the schedule and the
    prefix alone, not on the batch size or a restart. A killed run is resumed by the same command.

    \b
    Example:
      stepimp generate --schedule L125,H750,L125 --samples 16 --prefix "The module "
    """
    if watch and options["precision"] == "mdlm":
        raise click.BadParameter("--watch needs --precision exact.", param_hint="--watch")
    status("Loading models ...")
    from stepimp.sampling.generated import GenerateOptions, generate_texts

    chosen = GenerateOptions(**options)
    document, texts = generate_texts(
        chosen,
        partial(recommend_first, chosen),
        watching=watching if watch else None,
        progress=partial(progress, "tokens"),
    )
    if as_json:
        return print_json(document)
    for text in texts:
        click.secho(f"--- {text['index']}", dim=True)
        click.echo(text["text"])
    click.echo(summary(document))


def recommend_first(models: ModelOptions) -> dict:
    """A recommendation for the family, made because there is none."""
    status("No recommendation yet: making one first.")
    return recommend_now(models)


def summary(document: dict) -> str:
    """What was drawn, how fast, and where it is."""
    from stepimp.schedules.schedule import parse

    params, cost = document["params"], document["cost"]
    steps = parse(params["schedule"], params["heavy"], params["light"]).steps
    return (
        f"{params['samples']} samples with {params['schedule']}: "
        f"{cost['tokens'] / cost['seconds']:,.0f} tokens/s, {cost['forwards']} forward passes "
        f"where T x samples is {steps * params['samples']} -> "
        f"{Path(document['path']).with_suffix('.jsonl')}"
    )


@contextmanager
def watching(family, schedule):
    """A live view of one sample; yields the function that shows its tokens."""
    from rich.live import Live
    from rich.text import Text

    from stepimp.sampling.generate import masked_runs

    def show(step, model, tokens):
        text = Text.assemble((f"step {step} of {schedule.steps}, {model}\n", "dim"))
        for masked, run in masked_runs(tokens, family.any.mask_id):
            text.append(
                "░" * len(run) if masked else family.tokenizer.decode(run),
                style="dim" if masked else "",
            )
        live.update(text)

    with Live(console=stderr(), refresh_per_second=20) as live:
        yield show
