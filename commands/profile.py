"""`stepimp profile`: where the time goes, and FLOPs against wall-clock."""

import click

from ._options import model_options
from ._print import print_json, print_table
from ._progress import progress, status


@click.command()
@click.option("--heavy", default="12b", show_default=True, help="The large model.")
@click.option("--light", default="4b", show_default=True, help="The smaller one.")
@click.option("--schedule", help="A schedule to time beside the sandwiches.")
@click.option("--steps", type=click.IntRange(min=1), default=1000, show_default=True, help="T.")
@click.option(
    "--samples", type=click.IntRange(min=1), default=8, show_default=True, help="Samples per run."
)
@click.option(
    "--length",
    type=click.IntRange(min=1),
    help="Tokens per sample.  [default: the models' maximum]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Sequences per forward pass.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Runs of each; medians are kept.",
)
@click.option(
    "--points",
    type=click.IntRange(min=2),
    default=6,
    show_default=True,
    help="Light fractions from 0 to 1.",
)
@model_options
def profile(
    heavy,
    light,
    schedule,
    steps,
    samples,
    length,
    batch_size,
    repeats,
    points,
    family,
    device,
    dtype,
    attn,
    seed,
    out,
    as_json,
):
    """Seconds in the body, the projection, the draw and the rest, and what a schedule saves of
    them.

    The share a outside the body bounds what fewer blocks can bring: at most 1/a (formula 7; the
    paper prints 1/(1 - a) for this a, but its own decomposition gives 1/a). Beside it stands the
    published way of sampling, which projects and draws at all positions. Savings are measured
    against an all-heavy run made in the same round.

    \b
    Example:
      stepimp profile --schedule L125,H750,L125
    """
    from stepimp.schedules.schedule import parse

    plan = parse(schedule, heavy, light, steps) if schedule else None
    status("Loading models ...")
    import numpy as np

    from stepimp.models.family import family_folder, recorded
    from stepimp.models.loading import load
    from stepimp.results import Run, results_folder
    from stepimp.sampling import profile
    from stepimp.sampling.sampler import check
    from stepimp.schedules.schedule import Schedule

    results_folder(out)
    members = load(
        [heavy, light, *(plan.models if plan else ())], family_folder(family), device, dtype, attn
    )
    length = length or min(model.max_length for model in members.denoisers.values())
    check(members.denoisers, plan or Schedule.of([heavy]), length)
    params = dict(
        heavy=heavy,
        light=light,
        schedule=schedule,
        steps=steps,
        samples=samples,
        length=length,
        batch_size=batch_size,
        repeats=repeats,
        points=points,
        seed=seed,
        dtype=dtype,
        family=recorded(family),
    )
    run = Run(out, "profile", params, {"models": members.fingerprints}, members.any.device, dtype)
    with progress("runs") as moved:
        rows = profile.profile(
            members.denoisers,
            heavy,
            light,
            members.blocks,
            steps=steps,
            length=length,
            samples=samples,
            seed=seed,
            batch_size=batch_size,
            fractions=np.linspace(0, 1, points),
            schedule=plan,
            repeats=repeats,
            progress=moved,
        )
    document = run.finish(rows, blocks=members.blocks)
    if as_json:
        return print_json(document)
    parts = [row for row in rows if row["kind"] == "part"]
    table = []
    for name, way in dict.fromkeys((row["model"], row["sampler"]) for row in parts):
        own = [row for row in parts if (row["model"], row["sampler"]) == (name, way)]
        table.append(
            [
                f"{name}, {way}",
                *(f"{row['share']:.1%}" for row in own),
                f"{own[0]['speedup_bound']:.2f}",
            ]
        )
    print_table("Share of the time", ["", *profile.PARTS, "bound 1/a"], table)
    savings = [row for row in rows if row["kind"] == "saving"]
    print_table(
        f"Saved against all-heavy, T = {steps}, L = {length}",
        ["schedule", "light", "FLOPs (3)", "FLOPs, exact", "seconds", "forwards", "of T x samples"],
        [
            [
                row["schedule"],
                f"{row['light_fraction']:.0%}",
                f"{row['saved_flops']:.1%}",
                f"{row['saved_flops_exact']:.1%}",
                f"{row['saved_seconds']:.1%} [{row['saved_seconds_low']:.1%}, {row['saved_seconds_high']:.1%}]",
                str(row["forwards"]),
                str(row["sample_steps"]),
            ]
            for row in savings
        ],
    )
    click.echo(f"Median of {repeats} runs, range in brackets -> {document['path']}")
