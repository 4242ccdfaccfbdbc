"""`stepimp generate`: text with a schedule."""

from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from stepimp.wording import counted

from ._long import confirm
from ._options import (
    STEPS,
    FloatRange,
    choice_option,
    count_option,
    full_name,
    model_options,
    number_option,
    usage_errors,
    yes_option,
)
from ._print import print_json
from ._progress import progress, status, stderr
from ._recommend import recommend_now
from ._terminal import visible
from ._work import DEFAULT_STEPS
from ._workers import workers_option


@click.command()
@click.option(
    "--schedule",
    help="Over steps, such as L125,H750,L125 or 4b:250,12b:750; over masked positions, "
    "L@128-40,H@40-0; a plan of tokens per forward pass, L*12,H*30+8; or a JSON file of one.  "
    "[default: the newest recommendation]",
)
@click.option(
    "--cascade",
    metavar="NATS",
    help="In place of a schedule: the light model draws, and the heavy one where the entropy of "
    "the light one's prediction is above this threshold; auto: that of the newest stepimp cascade.",
)
@click.option(
    "--draft",
    type=click.IntRange(min=1),
    metavar="EVENTS",
    help="In place of a schedule: the light model drafts as many events, and the heavy one "
    "verifies them at once. The law is that of the heavy model alone, with fewer of its calls in "
    "sequence.",
)
@click.option("--heavy", help="The model H stands for.  [default: the deepest of the family]")
@click.option("--light", help="The model L stands for.  [default: the shallowest of the family]")
@click.option(
    "--steps",
    type=STEPS,
    help="T: of the recommendation to use, to check a given schedule over steps against, or of "
    "ancestral sampling with anything else.",
)
@click.option(
    "--sampler",
    type=click.Choice(["ancestral", "first-hitting"]),
    help="ancestral: each position unmasks at one of T steps. first-hitting: one position at a "
    "time, the limit of T to infinity.  [default: ancestral where there is a T]",
)
@count_option("--samples", default=4, help="How many texts, of each prompt.")
@click.option(
    "--length",
    type=click.IntRange(min=1),
    help="Tokens per text, given ones included.  [default: the models' maximum]",
)
@click.option("--prefix", default="", help="Text that each sample starts with.")
@click.option("--suffix", default="", help="Text that each sample ends with.")
@click.option(
    "--infill",
    metavar="TEXT",
    help='A text with gaps, such as "The{12} of{}": {12} is a gap of 12 tokens, {} takes what the '
    "length leaves, and the tokenizer's mask token is a gap of one. Most tokens begin with their "
    "space: leave it out before a gap. {{}} stands for the characters {}.",
)
@click.option(
    "--prompt",
    metavar="FILE",
    help="A text file to continue, or - for standard input; the tokenizer's mask token in it is "
    'filled in. JSON Lines (.jsonl) are many: {"prompt": "..."}, with "suffix" if wanted, or '
    '{"infill": "..."}.',
)
@count_option("--batch-size", default=16, help="Sequences per forward pass.")
@choice_option(
    "--precision",
    choices=["exact", "mdlm"],
    default="exact",
    help="exact: float64 Gumbel-max. mdlm: the published sampler, for comparison with published "
    "numbers only: bf16 log-probabilities and 32-bit Gumbel noise over V+1 outcomes, which cuts "
    "off unlikely tokens and so lowers gen-PPL and entropy; it is also many times slower.",
)
@number_option(
    "--temperature",
    type=FloatRange(min=0),
    default=1.0,
    help="Sharpens (below 1) what tokens are drawn from; 0 takes the likeliest. Another law than "
    "the model's own: NELBO and path KL do not apply.",
)
@number_option(
    "--top-p",
    type=FloatRange(0, 1, min_open=True),
    default=1.0,
    help="Draws from the likeliest tokens that together have this probability (nucleus). Another "
    "law as well.",
)
@click.option(
    "--order",
    metavar="NAME[:LEVEL]",
    help="The logits choose what unmasks: confidence, margin, entropy, threshold:0.9, eb:0.1, or "
    "ReMDM, which masks tokens again: remdm-cap:0.02, remdm-rescale:0.05, remdm-conf:1, "
    "remdm-loop:0.02. The schedule still chooses the models. Another law as well.",
)
@click.option("--watch", is_flag=True, help="Show the first sample filling in as it denoises.")
@model_options
@yes_option
@workers_option
def generate(watch, as_json, yes, **options):
    """Generate text with a model schedule, and save it as JSON Lines.

    Sampling is exact: a sample depends on the seed, its index, the models, the schedule and the
    given text alone, not on the batch size or a restart. A killed run is resumed by the same
    command.

    \b
    Example:
      stepimp generate --schedule L125,H750,L125 --prefix "The module "
      stepimp generate --cascade 1.5 --infill "The{12} of{}"
    """
    if watch and options["precision"] == "mdlm":
        raise click.BadParameter("--watch needs --precision exact.", param_hint="--watch")
    status("Loading models ...")
    from stepimp.sampling.generated import GenerateOptions, generate_texts

    for model in ("heavy", "light"):
        options[model] = full_name(options[model], options["family"])
    with usage_errors():
        chosen = GenerateOptions(**options)
    confirm(vars(chosen), yes)
    with progress("tokens") as report:
        document, texts = generate_texts(
            chosen,
            partial(recommend_first, chosen),
            watching=watching if watch else None,
            progress=report,
        )
    if as_json:
        return print_json(document)
    for text in texts:
        click.secho(f"--- {text['index']}", dim=True)
        click.echo(visible(text["text"]))
    click.echo(summary(document))


def recommend_first(options) -> dict:
    """A recommendation for the family and the models named, made because there is none.

    options: `GenerateOptions`.
    """
    status("No recommendation of these models and steps yet: making one first.")
    lights = (options.light,) if options.light else ()
    steps = options.steps or DEFAULT_STEPS
    return recommend_now(options, heavy=options.heavy, lights=lights, steps=steps)


def summary(document: dict) -> str:
    """What was drawn, how fast, and where it is."""
    params, cost, row = document["params"], document["cost"], document["rows"][0]
    speed = f"{cost['tokens'] / cost['seconds']:,.0f} tokens/s" if cost["seconds"] else ""
    passes = f"{cost['forwards']} forward passes{of_how_many(params, row)}"
    lines = [f"{counted(row['samples'], 'sample')} with {params['schedule']}: {speed}, {passes}"]
    if params["schedule"].startswith("draft("):
        heavy = params["heavy"]
        calls = cost["sequential_of"].get(heavy, 0) / row["samples"]
        lines[0] += f", {calls:.1f} calls of {heavy} in sequence per sample"
    if "law" in row:
        lines.insert(0, f"Note: {row['law']}.")
    return "\n".join(lines) + f" -> {Path(document['path']).with_suffix('.jsonl')}"


def of_how_many(params: dict, row: dict) -> str:
    """What the forward passes of a schedule over steps are compared with."""
    from stepimp.schedules.schedule import is_over_steps, parse

    if "sampler" in params or not is_over_steps(params["schedule"]):
        return ""
    steps = parse(params["schedule"], params["heavy"], params["light"]).steps
    return f" where T x samples is {steps * row['samples']}"


@contextmanager
def watching(family):
    """A live view of one sample; yields the function that shows its tokens."""
    from rich.live import Live
    from rich.text import Text

    from stepimp.sampling.generate import masked_runs

    def show(masked, model, tokens):
        text = Text.assemble((f"{masked} of {len(tokens)} tokens masked, {model}\n", "dim"))
        for is_masked, run in masked_runs(tokens, family.any.mask_id):
            text.append(
                "░" * len(run) if is_masked else visible(family.tokenizer.decode(run)),
                style="dim" if is_masked else "",
            )
        live.update(text)

    with Live(console=stderr(), refresh_per_second=20) as live:
        yield show
