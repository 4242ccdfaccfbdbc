"""`stepimp estimate`: what a command will cost, before it runs."""

import shlex

import click

from stepimp.wording import duration

from ._estimates import TIMED
from ._estimates_models import of_models, of_reproduce
from ._options import json_option
from ._print import print_json, print_table, size
from ._progress import status
from ._threads import choose_threads
from ._work import PLANNED

TIMING = "Timing the models for a few seconds, unless it was done before ..."
ESTIMATES = {**dict.fromkeys(PLANNED, of_models), **TIMED, "reproduce": of_reproduce}
"""Commands -> what makes the document of their estimate."""


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@json_option("Print the estimate as JSON.")
@click.argument("command", type=click.Choice(list(ESTIMATES)), metavar="COMMAND")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF COMMAND]...")
@click.pass_context
def estimate(ctx, as_json, command, arguments):
    """Say what a command will cost, before it runs.

    It counts forward passes, FLOPs, seconds on this machine, memory and disk. COMMAND is loss, kl,
    cascade, generate, compare, search, profile, recommend, plan, train, judge, evaluate or
    reproduce, with its own options after it: the line as you would run it, with "estimate" before
    the name. Curves that the command would measure first, as the results folder has none that
    match, are counted too. Forward passes and FLOPs follow from the sizes. Seconds and memory come
    from running the same models in the same batches for a few seconds, which are kept: the next
    estimate of these models on this machine is instant. The time is that of the processes that the
    command would start, with nothing else running. Work that an earlier run has finished counts as
    if it were still to do.

    For train and judge it takes a few real steps of each depth, in a folder of their own: the time
    is that of all members in one process, and says how much of it goes into starting, reading the
    text and compiling. Disk is what stays, with the checkpoints beside it that a training removes.

    For reproduce it is the sum of its commands, several of which run at once; those whose results
    are there already are left out, and so are the figures.

    \b
    Example:
      stepimp estimate kl --heavy 12b --light 4b --sequences 500
      stepimp estimate search --samples 160
      stepimp estimate train runs/docs --data docs --depths 4,12 --steps 5000
      stepimp estimate reproduce --scale full
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
    status(TIMING)
    document = {"command": [command, *arguments], **ESTIMATES[command](context)}
    if as_json or context.params.get("as_json"):
        return print_json(document)
    show(document)


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
    print_table(line_of(document), ["", ""], rows)
    if document.get("commands"):
        show_commands(document["commands"])


def show_commands(documents: list[dict]):
    """What each command of `stepimp reproduce` costs, the longest first."""
    rows = [
        [line_of(part), f"{sum(part['forwards'].values()):,}", f"{part['flops']:.3g}"]
        + [duration(part["seconds"])]
        for part in sorted(documents, key=lambda part: -part["seconds"])
    ]
    columns = ["command", "forward passes", "FLOPs", "time"]
    print_table("Of which", columns, rows, spare=("FLOPs", "forward passes"))


def line_of(document: dict) -> str:
    """The command line that a document is of."""
    return shlex.join(["stepimp", *document["command"]])
