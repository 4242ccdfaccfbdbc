"""`stepimp cascade`: the threshold of an entropy cascade, and what it is predicted to lose."""

import click

from stepimp.curves.options import CurveOptions

from ._long import confirm
from ._options import (
    POINTS,
    STEPS,
    Share,
    chosen_members,
    count_option,
    data_option,
    heavy_option,
    light_option,
    model_options,
    number_option,
    usage_errors,
    yes_option,
)
from ._print import banded, print_json, print_table
from ._progress import progress, status
from ._workers import workers_option


@click.command()
@number_option(
    "--budget",
    type=Share(0, 1),
    default=0.25,
    help="Share of the all-heavy FLOPs to save, by blocks; an escalated event pays for both "
    "models.",
)
@click.option(
    "--steps",
    type=STEPS,
    help="T of ancestral sampling.  [default: first-hitting, one position at a time]",
)
@heavy_option
@light_option
@data_option
@count_option(
    "--sequences",
    default=CurveOptions.sequences,
    help="Held-out sequences to average over.",
    least=2,
)
@number_option(
    "--points",
    type=POINTS,
    default=CurveOptions.points,
    help="States of each sequence, one in each of as many parts of the trajectory.",
)
@click.option(
    "--length",
    type=click.IntRange(min=1),
    help="Tokens per sequence.  [default: the models' maximum]",
)
@count_option("--batch-size", default=CurveOptions.batch_size, help="Sequences per forward pass.")
@model_options
@yes_option
@workers_option
def cascade(budget, steps, heavy, light, device, attn, out, as_json, yes, **options):
    """Tune the threshold of an entropy cascade to a budget.

    It needs held-out text and no sampling. An event is a step that draws at least one token. In
    a cascade the light model runs in every event, and the heavy one where the entropy of the
    light one's prediction is above a threshold. Sampling stays exact, so that NELBO and path KL
    are predicted; beside them is the best fixed schedule at equal mean cost. `stepimp generate
    --cascade auto` takes the threshold of the newest document.

    \b
    Example:
      stepimp cascade --budget 0.25 --heavy 12b --light 4b
    """
    heavy, lights = chosen_members(heavy, (light,) if light else (), options["family"])
    with usage_errors():
        chosen = CurveOptions(heavy=heavy, lights=lights, **options)
    confirm(vars(chosen) | {"device": device}, yes)
    status("Loading models ...")
    from stepimp.sampling.cascade_document import CascadeOptions, tune_cascade

    with progress("sequences") as report:
        document = tune_cascade(
            chosen,
            CascadeOptions(budget, steps),
            out,
            device=device,
            attn=attn,
            progress=report,
        )
    if as_json:
        return print_json(document)
    show(document)


def show(document: dict):
    """The table, and what the cascade for the budget gains over a fixed schedule."""
    rows = document["rows"]
    columns = ["", "threshold", "escalated", "saved", "path KL", "NELBO", "NELBO - best fixed"]
    print_table("Predictions in nats per token", columns, [cells(row) for row in rows])
    click.echo(verdict(rows[0]))
    click.echo(f"Threshold: {rows[0]['threshold_nats']:.4g} nats -> {document['path']}")


def cells(row: dict) -> list[str]:
    """A row of the table."""
    escalated = f"{row['escalated']:.0%}" if "escalated" in row else "-"
    threshold = f"{row['threshold_nats']:.3f}" if "threshold_nats" in row else "-"
    statistics = [banded(row, name) for name in ("path_kl_nats", "nelbo_nats", "nelbo_diff_nats")]
    return [row["name"], threshold, escalated, f"{row['saved_flops']:.1%}", *statistics]


def verdict(row: dict) -> str:
    """Whether the cascade beats the best fixed schedule at equal mean cost."""
    if row["nelbo_diff_nats_high"] < 0:
        return "The cascade beats the best fixed schedule at equal mean cost."
    if row["nelbo_diff_nats_low"] > 0:
        return "The best fixed schedule at equal mean cost beats the cascade."
    return "The cascade does not beat the best fixed schedule at equal mean cost."
