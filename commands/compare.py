"""`stepimp compare`: schedules side by side."""

import math

import click

from ._long import confirm
from ._options import (
    STEPS,
    Share,
    chosen_members,
    count_option,
    data_option,
    heavy_option,
    judge_option,
    lights_option,
    model_options,
    number_option,
    refuse,
    usage_errors,
    yes_option,
)
from ._policies import compare_policies
from ._print import banded, print_json, print_table, rounded, warn_of_empty
from ._progress import progress, status
from ._workers import workers_option

MOST_FRACTIONS = 1000


class Sweep(click.ParamType):
    """start:stop:step -> the fractions from start to stop, both included."""

    name = "start:stop:step"

    def convert(self, value, param, ctx):
        try:
            start, stop, step = map(float, value.split(":"))
        except ValueError:
            start = stop = step = math.nan
        if not (0 <= start <= stop <= 1 and 0 < step < math.inf):
            self.fail(f"{value!r} is not a range of fractions such as 0:1:0.1.", param, ctx)
        count = 1 + math.floor((stop - start) / step + 1e-9)
        if count > MOST_FRACTIONS:
            message = f"{value!r} makes {count:,} fractions; the most is {MOST_FRACTIONS:,}."
            self.fail(message, param, ctx)
        return [start + i * step for i in range(count)]


@click.command()
@heavy_option
@lights_option
@click.option(
    "--schedule",
    "schedules",
    multiple=True,
    help="Compare this one instead: over steps, such as L125,H750,L125; over masked positions, "
    "L@128-40,H@40-0; a plan of tokens per forward pass, L*12,H*30+8; or a JSON file of one. "
    "Repeatable.",
)
@click.option(
    "--fractions",
    type=Sweep(),
    help="Compare sandwiches with these fractions of light steps instead.",
)
@click.option(
    "--policies",
    is_flag=True,
    help="Compare ways to use the two models instead, all at the same mean cost: the best schedule "
    "over steps, over masked positions, the best plan, an entropy cascade, and drafting.",
)
@number_option(
    "--budget",
    type=Share(0, 1),
    default=0.25,
    help="With --policies: the share of the all-heavy FLOPs to save, counting blocks.",
)
@count_option(
    "--sequences",
    default=100,
    help="With --policies: held-out sequences that measure the NELBO.",
    least=2,
)
@number_option("--steps", type=STEPS, default=1000, help="T.")
@count_option("--samples", default=32, help="Samples per schedule.", least=2)
@click.option(
    "--length",
    type=click.IntRange(min=1),
    help="Tokens per sample.  [default: the models' maximum]",
)
@count_option(
    "--prefix-length",
    default=0,
    help="Start each sample with this many tokens of a held-out sequence of --data; they are not "
    "scored.",
    least=0,
)
@data_option
@count_option(
    "--batch-size",
    default=8,
    help="Samples drawn together with one schedule before it is the next one's turn.",
)
@judge_option
@model_options
@yes_option
@workers_option
def compare(heavy, lights, policies, budget, sequences, as_json, yes, **options):
    """Gen-PPL, entropy, FLOPs and seconds of several schedules.

    All have the same random numbers. By default the paper's seven: a quarter of the steps light in
    a sandwich or in one quarter, all light and all heavy; and the newest recommendation for these
    models. Text is scored as `stepimp evaluate` does; a prefix counts for the entropy alone. The
    log-PPL difference is the mean of the paired differences to all-heavy, in nats per token. FLOPs
    are those saved by counting blocks (formula 3), time is the share of all-heavy's seconds that
    was saved. Below the table are the placements of equally many light steps that differ from each
    other.

    With --policies all are chosen by curves over masked positions, and their NELBO is measured on
    other held-out text with the sampler's own events; a verdict says whether each beats the best
    schedule over steps. Drafting has the law of all-heavy and saves calls in sequence, not FLOPs.

    Samples are kept in files of their own in --out. What was drawn before, in a killed run or
    another one, is not drawn again, and keeps its seconds: the saved time is shown only if
    all-heavy was timed in the same run.

    \b
    Example:
      stepimp compare --light 4b --light 8b
      stepimp compare --fractions 0:1:0.1
      stepimp compare --schedule L250,H750 --schedule "L@256-192,H@192-0"
      stepimp compare --prefix-length 16 --samples 64
      stepimp compare --policies --light 8b --budget 0.2
    """
    if options["schedules"] and options["fractions"]:
        raise click.UsageError("Give either --schedule or --fractions, not both.")
    if not policies:
        refuse(["budget", "sequences"], "counts with --policies alone: give both or none.")
    if not policies and not options["prefix_length"]:
        refuse(["data", "column"], "counts with --prefix-length alone: give both or none.")
    status("Loading models ...")
    heavy, lights = chosen_members(heavy, lights, options["family"])
    if policies:
        options |= {"save_flops": budget, "sequences": sequences}
        return compare_policies(heavy, lights, as_json, yes, options)
    confirm(options | {"heavy": heavy, "lights": lights}, yes)
    from stepimp.quality.comparison import CompareOptions, compare_models

    options["fractions"] = tuple(options["fractions"] or ())
    with usage_errors():
        chosen = CompareOptions(heavy=heavy, lights=lights, **options)
    with progress("batches of samples") as report:
        document = compare_models(chosen, report)
    if as_json:
        return print_json(document)
    show(document)


def show(document: dict):
    """The table, the placements that differ, and the best schedule in a line."""
    params, rows = document["params"], document["rows"]
    given = f", {params['prefix_length']} of them given" if params["prefix_length"] else ""
    print_table(
        f"{params['samples']} samples each, T = {params['steps']}, {params['length']} tokens"
        f"{given}, judge {params['judge']}; FLOPs, time: saved",
        ["", "schedule", "gen-PPL", "log-PPL diff", "entropy", "FLOPs", "time"],
        [cells(row, len(params["lights"]) > 1) for row in rows],
        spare=("entropy", "FLOPs"),
    )
    warn_of_empty(sum(row["empty"] for row in rows))
    if document["pairs"]:
        click.echo(placement_line(document["pairs"]))
    scheduled = [row for row in rows if row["name"] not in ("all-heavy", "all-light")] or rows
    best = min(scheduled, key=lambda row: row["log_ppl_diff"])
    click.echo(
        f"Least log-PPL difference: {best['schedule']}, {banded(best, 'log_ppl_diff', 3)} nats "
        f"per token -> {document['path']}"
    )


def placement_line(pairs: list[dict]) -> str:
    """Which placements of equally many light steps differ beyond the intervals, the largest
    differences first.
    """
    different = [pair for pair in pairs if pair["log_ppl_diff_low"] > 0]
    count = f"{len(different)} of {len(pairs)} pairs of placements differ, all at 95% together"
    named = [
        f"{pair['worse']} above {pair['better']} by {banded(pair, 'log_ppl_diff', 3)}"
        for pair in different or pairs[:1]
    ]
    return f"{count}: {'; '.join(named[:3])}" if different else f"{count}; the most: {named[0]}"


def cells(row: dict, several_lights: bool) -> list[str]:
    """The cells of a row of the table."""
    name = f"{row['name']} {row['light']}" if several_lights and row["light"] else row["name"]
    return [
        name,
        row["schedule"],
        rounded(row, "gen_ppl"),
        banded(row, "log_ppl_diff", 3),
        f"{row['entropy_nats']:.2f}",
        f"{row['saved_flops']:.1%}",
        "-" if math.isnan(row["saved_seconds"]) else f"{row['saved_seconds']:.1%}",
    ]
