"""`stepimp estimate`: what a command will cost, before it runs."""

import click

from stepimp.wording import duration

from ._estimates import TIMED, workers_of
from ._options import json_option
from ._print import print_json, print_table, size
from ._progress import status
from ._threads import choose_threads
from ._work import JUDGED, PLANNED

TIMING = "Timing the models for a few seconds, unless it was done before ..."


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@json_option("Print the estimate as JSON.")
@click.argument("command", type=click.Choice([*PLANNED, *TIMED]), metavar="COMMAND")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF COMMAND]...")
@click.pass_context
def estimate(ctx, as_json, command, arguments):
    """Say what a command will cost, before it runs.

    It counts forward passes, FLOPs, seconds on this machine, memory and disk. COMMAND is loss, kl,
    cascade, generate, compare, search, profile, recommend, plan, train, judge or evaluate, with its
    own options after it: the line as you would run it, with "estimate" before the name. Curves that
    the command would measure first, as the results folder has none that match, are counted too.
    Forward passes and FLOPs follow from the sizes. Seconds and memory come from running the same
    models in the same batches for a few seconds, which are kept: the next estimate of these models
    on this machine is instant. The time is that of the processes that the command would start, with
    nothing else running. Work that an earlier run has finished counts as if it were still to do.

    For train and judge it takes a few real steps of each depth, in a folder of their own: the time
    is that of all members in one process, and says how much of it goes into starting, reading the
    text and compiling. Disk is what stays, with the checkpoints beside it that a training removes.

    \b
    Example:
      stepimp estimate kl --heavy 12b --light 4b --sequences 500
      stepimp estimate search --samples 160
      stepimp estimate train runs/docs --data docs --depths 4,12 --steps 5000
    """
    context = ctx.parent.command.commands[command].make_context(
        command, list(arguments), parent=ctx.parent
    )
    if context.params.get("until"):
        raise click.UsageError(
            "How many sequences --until will take is not known before it runs: estimate "
            "--sequences instead."
        )
    choose_threads(context.params)
    if command in TIMED:
        status(TIMING)
        document = TIMED[command](context)
    else:
        document = of_models(context)
    document = {"command": [command, *arguments], **document}
    if as_json or context.params.get("as_json"):
        return print_json(document)
    show(document)


def of_models(context: click.Context) -> dict:
    """The estimate of a command that runs denoisers."""
    from dataclasses import fields

    from stepimp.estimates.rates import rates
    from stepimp.models.family import family_folder
    from stepimp.models.options import ModelOptions

    from ._work import missing_curves, planned

    command, params = context.info_name or "", context.params
    names = {field.name for field in fields(ModelOptions)}
    options = ModelOptions(**{name: value for name, value in params.items() if name in names})
    folder = family_folder(options.family)
    work = planned(command, params, folder, missing_curves(command, params, folder))
    workers = workers_of(context)
    status(TIMING)
    measured = rates(work, options, params.get("judge") if command in JUDGED else None)
    return {
        "forwards": {model: round(count) for model, count in work.forwards.items()},
        "texts_scored": round(work.texts),
        "flops": work.flops(measured.flops),
        "seconds": measured.seconds(work, workers),
        "processes": workers,
        "memory_bytes": measured.memory,
        "disk_bytes": round(work.bytes),
    }


def show(document: dict):
    """A line per quantity."""
    rows = []
    if "steps" in document:
        steps = ", ".join(f"{model} {count:,}" for model, count in document["steps"].items())
        rows.append(["steps", steps])
    forwards = ", ".join(f"{model} {count:,}" for model, count in document["forwards"].items())
    rows.append(["forward passes", forwards or "none"])
    if "texts_scored" in document:
        rows.append(["texts the judge scores", f"{document['texts_scored']:,}"])
    of_judge = document["command"][0] in TIMED
    rows.append(["FLOPs" if of_judge else "FLOPs, without the judge", f"{document['flops']:.3g}"])
    count = document["processes"]
    shared = f" in {count} processes" if count > 1 else ""
    rows.append(["time on this machine", duration(document["seconds"]) + shared])
    if "warmup_seconds" in document:
        rows.append(["  before the steps", duration(document["warmup_seconds"])])
    rows.append(["peak memory", size(document["memory_bytes"])])
    rows.append(["on disk", size(document["disk_bytes"])])
    if "checkpoint_bytes" in document:
        rows.append(["  checkpoints beside it", f"up to {size(document['checkpoint_bytes'])}"])
    print_table(f"stepimp {' '.join(document['command'])}", ["", ""], rows)
