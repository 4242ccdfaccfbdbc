"""`stepimp search`: every coarse schedule, what each segment matters, and how well the curves
predicted it.
"""

from functools import partial

import click

from stepimp.wording import counted

from ._curves import measure_first
from ._long import confirm
from ._options import (
    STEPS,
    FloatRange,
    chosen_members,
    count_option,
    heavy_option,
    judge_option,
    light_option,
    model_options,
    number_option,
    refuse,
    usage_errors,
    yes_option,
)
from ._print import print_json, print_table, rounded
from ._progress import progress, status
from ._workers import workers_option

SHOWN = 5  # schedules at each end of the ranking
BAR = 11  # characters of the longest bar
NAMES = {
    "predicted_path_kl_nats": "path KL",
    "predicted_nelbo_nats": "NELBO",
    "predicted_relative_kl_nats": "relative KL",
}


@click.command()
@heavy_option
@light_option
@count_option("--segments", default=10, help="Parts of the trajectory.", least=2)
@count_option("--light-segments", default=4, help="How many of them run light.")
@number_option("--steps", type=STEPS, default=1000, help="T, the number of denoising steps.")
@count_option("--samples", default=160, help="Samples per schedule.", least=2)
@click.option(
    "--length",
    type=click.IntRange(min=2),
    help="Tokens per sample.  [default: the models' maximum]",
)
@click.option(
    "--curves",
    type=click.Path(dir_okay=False),
    help="Results of stepimp kl or loss that predict the ranking.  [default: the newest]",
)
@click.option(
    "--race",
    is_flag=True,
    help="After each chunk drop the schedules that cannot be among the best --top.",
)
@count_option("--top", default=5, help="How many of the best --race looks for.")
@number_option(
    "--confidence",
    type=FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    help="Probability with which --race drops none of the best.",
)
@count_option(
    "--chunk", default=32, help="Samples that are drawn together; --race looks after each.", least=2
)
@count_option("--batch-size", default=16, help="Sequences per forward pass.")
@judge_option
@model_options
@yes_option
@workers_option
def search(heavy, light, race, top, confidence, as_json, yes, **options):
    """Sample with every coarse schedule, and rank them by gen-PPL.

    A coarse one is light in 4 of 10 equal segments; a judge scores the text. All schedules share
    their random numbers, and those that begin with the same segments share that part of the work:
    790 segments run instead of the 2100 of 210 schedules. Beside the ranking are the influence of
    each segment (8) and how well path KL and NELBO, from the curves, predicted the ranking. A
    killed search continues, schedule by schedule.

    \b
    Example:
      stepimp search --heavy 12b --light 4b --race
    """
    if not race:
        refuse(["top", "confidence"], "counts with --race alone: give both or none.")
    status("Loading models ...")
    from stepimp.search.elimination import Elimination
    from stepimp.search.run import SearchOptions, search_models

    heavy, (light,) = chosen_members(heavy, (light,) if light else (), options["family"])
    with usage_errors():
        chosen = SearchOptions(
            heavy=heavy,
            light=light,
            elimination=Elimination(top, confidence) if race else None,
            **options,
        )
    confirm(vars(chosen), yes)
    with progress("schedules x chunks") as report:
        document = search_models(chosen, partial(measure_first, chosen), report)
    if as_json:
        return print_json(document)
    show(document)


def show(document: dict):
    """The tables, and the best and the worst schedule in a line."""
    rows, params = document["rows"], document["params"]
    predicted = [name for name in NAMES if name in rows[0]]
    ends = rows if len(rows) <= 2 * SHOWN else [*rows[:SHOWN], *rows[-SHOWN:]]
    print_table(
        f"{len(rows)} schedules of {params['samples']} samples, T = {params['steps']}, "
        f"judge {params['judge']}",
        ["rank", "segments", "gen-PPL", "entropy", *(NAMES[name] for name in predicted)],
        [
            [
                str(row["rank"]),
                row["segments"],
                rounded(row, "gen_ppl"),
                f"{row['entropy_nats']:.3f}",
                *(f"{row[name]:.4f}" for name in predicted),
            ]
            for row in ends
        ],
        spare=("relative KL", "NELBO"),
    )
    show_influence(document["influence"])
    show_predictions(document["predictions"], document["curves"])
    if "held_out" in document:
        show_held_out(document["held_out"])
    if "race" in document:
        last = document["race"]["rounds"][-1]
        saved = f"{document['race']['saved']:.0%}"
        click.echo(
            f"Elimination left {counted(last['schedules'], 'schedule')} and saved {saved} of "
            "the segments; influence and correlations are of the samples that all schedules have."
        )
    best, worst = rows[0], rows[-1]
    click.echo(
        f"Best: {best['segments']} ({best['schedule']}), gen-PPL {best['gen_ppl']:.1f}; worst: "
        f"{worst['segments']}, {worst['gen_ppl']:.1f}; {document['cost']['forwards']:,} forwards "
        f"-> {document['path']}"
    )


def show_influence(rows: list[dict]):
    """A bar per segment, to the left if light is better there than elsewhere."""
    most = max(abs(row["influence_ppl"]) for row in rows)
    ends = rows[0]["extremes"]
    print_table(
        "Influence of each segment: gen-PPL of the schedules light there, minus that of all",
        ["segment", "t", "", "influence", f"best {ends}", f"worst {ends}"],
        [
            [
                str(row["segment"]),
                f"{row['t_from']:.2f} -> {row['t_to']:.2f}",
                bar(row["influence_ppl"], most),
                rounded(row, "influence_ppl"),
                f"{row['light_in_top']:.0%}",
                f"{row['light_in_bottom']:.0%}",
            ]
            for row in rows
        ],
    )


def bar(value: float, most: float) -> str:
    """A bar to the left of the middle for a value below 0, to the right for one above."""
    blocks = "█" * round(BAR * abs(value) / (most or 1))
    return f"{blocks if value < 0 else '':>{BAR}}│{blocks if value > 0 else '':<{BAR}}"


def show_predictions(rows: list[dict], curves: str):
    """How each kind of prediction ranks the schedules, and the schedule it would choose."""
    from stepimp.intervals import Estimate

    table = []
    for row in rows:
        spearman = Estimate.of(row, "spearman")
        table.append(
            [
                NAMES[row["predicted_by"]],
                f"{spearman.value:.2f} {spearman.brackets()}",
                f"{row['kendall']:.2f}",
                row["segments"],
                str(row["rank"]),
                rounded(row, "regret_ppl"),
            ]
        )
    print_table(
        f"How well {curves} predicted gen-PPL: rank correlations, and what the choice loses",
        ["", "Spearman", "Kendall", "its choice", "rank", "above the best"],
        table,
    )


def show_held_out(rows: list[dict]):
    """How each kind of prediction ranks the schedules by their NELBO on other text."""
    from stepimp.intervals import Estimate

    table = []
    for row in rows:
        spearman = Estimate.of(row, "spearman")
        table.append(
            [
                NAMES[row["predicted_by"]],
                f"{spearman.value:.2f} {spearman.brackets()}",
                row["segments"],
                str(row["rank"]),
                Estimate.of(row, "regret_nats").text(4),
            ]
        )
    print_table(
        "How well half of the sequences predict the NELBO of the schedules on the other "
        f"{rows[0]['sequences']}",
        ["", "Spearman", "its choice", "rank", "above the least (nats)"],
        table,
    )
