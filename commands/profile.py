"""`stepimp profile`: where the time goes, and FLOPs against wall-clock."""

import click

from stepimp.wording import counted

from ._long import confirm
from ._options import (
    STEPS,
    chosen_members,
    count_option,
    heavy_option,
    light_option,
    model_options,
    number_option,
    yes_option,
)
from ._print import print_json, print_table
from ._progress import progress, status
from ._workers import workers_option


@click.command()
@heavy_option
@light_option
@click.option("--schedule", help="A schedule to time beside the sandwiches.")
@number_option("--steps", type=STEPS, default=1000, help="T.")
@count_option("--samples", default=8, help="Samples per run.")
@click.option(
    "--length",
    type=click.IntRange(min=1),
    help="Tokens per sample.  [default: the models' maximum]",
)
@count_option("--batch-size", default=8, help="Sequences per forward pass.")
@count_option("--repeats", default=3, help="Runs of each schedule; medians are kept.")
@number_option(
    "--points", type=click.IntRange(2, 1000), default=6, help="Light fractions from 0 to 1."
)
@model_options
@yes_option
@workers_option
def profile(heavy, light, as_json, yes, **options):
    """Where the time of sampling goes, and what a schedule saves.

    It times the body, the projection, the draw and the rest. The share a outside the body bounds
    what fewer blocks can bring: at most 1/a (formula 7; the paper prints 1/(1 - a) for this a, but
    its own decomposition gives 1/a). Beside it is the published way of sampling, which projects and
    draws at all positions. Savings are measured against an all-heavy run of the same repeat. The
    last line says whether the models' logits are the same bits alone and in larger batches, on this
    machine.

    \b
    Example:
      stepimp profile --schedule L125,H750,L125
    """
    status("Loading models ...")
    from stepimp.sampling.profile import ProfileOptions, profile_models

    heavy, (light,) = chosen_members(heavy, (light,) if light else (), options["family"])
    chosen = ProfileOptions(heavy=heavy, light=light, **options)
    confirm(vars(chosen), yes)
    with progress("runs") as report:
        document = profile_models(chosen, report)
    if as_json:
        return print_json(document)
    show(document)


def show(document: dict):
    """The tables, and what was measured in two lines."""
    from stepimp.sampling.reproducibility import summary

    rows: dict[str, list[dict]] = {kind: [] for kind in ("part", "saving", "reproducibility")}
    for row in document["rows"]:
        rows[row["kind"]].append(row)
    show_parts(rows["part"])
    show_savings(rows["saving"], document["params"])
    runs = counted(document["params"]["repeats"], "run")
    click.echo(f"Median of {runs}, range in brackets -> {document['path']}")
    click.echo(summary(rows["reproducibility"]))


def show_parts(rows: list[dict]):
    """A line per model and sampler: the share of each part and the bound (7)."""
    lines: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        lines.setdefault((row["model"], row["sampler"]), []).append(row)
    print_table(
        "Share of the time",
        ["", *dict.fromkeys(row["part"] for row in rows), "bound 1/a"],
        [
            [
                f"{model}, {sampler}",
                *(f"{part['share']:.1%}" for part in parts),
                f"{parts[0]['speedup_bound']:.2f}",
            ]
            for (model, sampler), parts in lines.items()
        ],
    )


def show_savings(rows: list[dict], params: dict):
    """A line per schedule: what it saves of FLOPs and seconds."""
    print_table(
        f"Saved against all-heavy, T = {params['steps']}, L = {params['length']}; T x samples is "
        f"{params['steps'] * params['samples']}",
        ["schedule", "light", "FLOPs (3)", "exact", "seconds", "forwards"],
        [
            [
                row["schedule"],
                f"{row['light_fraction']:.0%}",
                f"{row['saved_flops']:.1%}",
                f"{row['saved_flops_exact']:.1%}",
                f"{row['saved_seconds']:.1%} "
                f"[{row['saved_seconds_low']:.1%}, {row['saved_seconds_high']:.1%}]",
                str(row["forwards"]),
            ]
            for row in rows
        ],
    )
