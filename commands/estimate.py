"""`stepimp estimate`: what a command will cost, before it runs."""

import os

import click

from ._print import duration, print_json, print_table, size
from ._progress import status
from ._work import JUDGED, PLANNED
from ._workers import default_workers, threads_each


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--json", "as_json", is_flag=True, help="Print the estimate as JSON.")
@click.argument("command", type=click.Choice(PLANNED), metavar="COMMAND")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF COMMAND]...")
@click.pass_context
def estimate(ctx, as_json, command, arguments):
    """Say what a command will cost, before it runs.

    It counts forward passes, FLOPs, seconds on this machine, memory and disk. COMMAND is loss, kl,
    cascade, generate, compare, search, profile, recommend or plan, with its own options after it:
    the line as you would run it, with "estimate" before the name. Curves that the command would
    measure first, as the results folder has none that match, are counted too. Forward passes and
    FLOPs follow from the sizes. Seconds and memory come from running the same models in the same
    batches for a few seconds, which are kept: the next estimate of these models on this machine is
    instant. The time is that of the processes that the command would start, with nothing else
    running. Work that an earlier run has finished counts as if it were still to do.

    \b
    Example:
      stepimp estimate kl --heavy 12b --light 4b --sequences 500
      stepimp estimate search --samples 160
    """
    from dataclasses import fields

    from stepimp.estimates.rates import rates
    from stepimp.models.family import family_folder
    from stepimp.models.options import ModelOptions

    from ._work import missing_curves, planned

    context = ctx.parent.command.commands[command].make_context(
        command, list(arguments), parent=ctx.parent
    )
    params = context.params
    names = {field.name for field in fields(ModelOptions)}
    options = ModelOptions(**{name: value for name, value in params.items() if name in names})
    folder = family_folder(options.family)
    work = planned(command, params, folder, missing_curves(command, params, folder))
    workers = 1
    if "workers" in params:
        workers = params["workers"] or default_workers(context)
    if workers > 1:  # before torch counts its threads
        os.environ["OMP_NUM_THREADS"] = threads_each(workers)
    status("Timing the models for a few seconds, unless it was done before ...")
    measured = rates(work, options, params.get("judge") if command in JUDGED else None)
    document = {
        "command": [command, *arguments],
        "forwards": {model: round(count) for model, count in work.forwards.items()},
        "texts_scored": round(work.texts),
        "flops": work.flops(measured.flops),
        "seconds": measured.seconds(work, workers),
        "processes": workers,
        "memory_bytes": measured.memory,
        "disk_bytes": round(work.bytes),
    }
    if as_json:
        return print_json(document)
    show(document)


def show(document: dict):
    """A line per quantity."""
    forwards = ", ".join(f"{model} {count:,}" for model, count in document["forwards"].items())
    count = document["processes"]
    shared = f" in {count} processes" if count > 1 else ""
    rows = [
        ["forward passes", forwards or "none"],
        ["texts the judge scores", f"{document['texts_scored']:,}"],
        ["FLOPs, without the judge", f"{document['flops']:.3g}"],
        ["time on this machine", duration(document["seconds"]) + shared],
        ["peak memory", size(document["memory_bytes"])],
        ["on disk", size(document["disk_bytes"])],
    ]
    print_table(f"stepimp {' '.join(document['command'])}", ["", ""], rows)
