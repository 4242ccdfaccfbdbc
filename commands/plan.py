"""`stepimp plan`: how many forward passes, of which model, for which quality."""

import click

from stepimp.models.options import ModelOptions

from ._curves import chosen_curves
from ._options import POSITIVE, Share, choice_option, model_options, number_option
from ._print import banded, print_json, print_table
from ._recommend import save_option


@click.command()
@click.option(
    "--forwards",
    type=POSITIVE,
    required=True,
    help="Forward passes of the heavy model per sample that the plan may cost as much as.",
)
@number_option(
    "--budget",
    type=Share(0, 1, min_open=True),
    default=1.0,
    help="The share of their cost to spend, counting blocks.",
)
@choice_option(
    "--by",
    choices=["nelbo", "kl"],
    default="nelbo",
    help="What a plan minimises: the cross-entropy of held-out text, or the KL from the heavy "
    "model that reveals one token at a time.",
)
@click.option("--heavy", help="The large model.  [default: that of the curves]")
@click.option(
    "--light",
    "lights",
    multiple=True,
    help="A smaller one; repeatable.  [default: all of the curves]",
)
@click.option(
    "--curves",
    type=click.Path(dir_okay=False),
    help="Results of stepimp kl or loss with --by-masked.  [default: the newest]",
)
@save_option
@model_options
def plan(save, curves, heavy, lights, family, device, dtype, attn, out, as_json, **options):
    """The best plan of forward passes under a budget of compute.

    A plan says how many passes there are, which model each runs and how many tokens it reveals. A
    group of tokens is revealed by one pass and its tokens are drawn independently, so fewer and
    larger groups lose quality; a light model loses quality and costs less. Both losses are in the
    curves by the number of masked positions, and the optimum over all plans is exact (dynamic
    programming). Beside it: the best plan of one model alone, even groups of the heavy model, the
    whole frontier of cost against nats per token, and schedules of T steps for several T. Curves
    are the newest that match in the results folder; if there are none, they are measured first.

    \b
    Example:
      stepimp plan --forwards 64 --budget 0.6
      stepimp plan --forwards 64 --light 4b --light 8b --save plan.json
    """
    from stepimp.quality.planned import plan_document, save_schedule

    models = ModelOptions(
        family=family, device=device, dtype=dtype, attn=attn, out=out, seed=options["seed"]
    )
    measured = chosen_curves(models, curves, options["by"], heavy, lights, by_masked=True)
    document = plan_document(measured, out, heavy=heavy, lights=lights, **options)
    saved = save_schedule(document, save) if save else None
    if as_json:
        return print_json(document)
    show(document)
    if saved:
        click.echo(f"The plan as JSON -> {saved}")


def show(document: dict):
    """The tables, and the recommended plan in a line."""
    params = document["params"]
    heavy, objective = params["heavy"], f"objective: {params['by']}"
    click.echo(
        f"At most {params['budget']:g} x {params['forwards']:g} passes of {heavy}, curves "
        f"{params['curves']}"
    )
    columns = ["passes", "cost", "NELBO", objective, "above the plan"]
    print_table(
        f"Plans in nats per token; cost in passes of {heavy}",
        ["", *columns],
        [
            [row["name"], *cells(row), banded(row, "objective_diff_nats")]
            for row in document["rows"]
        ],
        spare=("NELBO", "passes"),
    )
    print_table(
        "The best plan for each cost",
        columns[1:2] + ["forward passes", "NELBO", objective, "by model"],
        [
            [f"{row['heavy_forwards']:.2f}", f"{row['forwards']:.0f}"]
            + [banded(row, "nelbo_nats"), banded(row, "objective"), row["passes"]]
            for row in document["frontier"]
        ],
        spare=("by model", "NELBO"),
    )
    print_table(
        "Fixed numbers of steps",
        ["", "T", "cost", "NELBO", objective],
        [
            [row["name"], str(row["steps"]), f"{row['heavy_forwards']:.2f}"]
            + [banded(row, "nelbo_nats"), banded(row, "objective")]
            for row in document["fixed"]
        ],
        spare=("NELBO",),
    )
    click.echo(f"Recommended: {document['rows'][0]['schedule']} -> {document['path']}")


def cells(row: dict) -> list[str]:
    """Passes by model, cost and predictions of a plan."""
    statistics = [banded(row, name) for name in ("nelbo_nats", "objective")]
    return [row["passes"], f"{row['heavy_forwards']:.2f}", *statistics]
