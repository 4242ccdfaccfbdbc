"""`stepimp recommend`: curves and a budget to a schedule."""

from collections.abc import Callable
from typing import get_args

import click

from stepimp.models.options import ModelOptions
from stepimp.rows import Objective

from ._long import confirm
from ._options import (
    STEPS,
    Share,
    choice_option,
    count_option,
    full_name,
    judge_option,
    model_options,
    number_option,
    refuse,
    together,
    yes_option,
)
from ._print import banded, print_json, print_table
from ._progress import status
from ._recommend import recommend_masked_now, recommend_now, save_option

NOT_RESOLVED = (
    "Warning: nowhere is the relative KL resolved above 0: at no step does the light model differ "
    "more from the heavy one than another seed does, so --by kl cannot tell steps apart. Train the "
    "family longer, or use --by nelbo or loss."
)

recommend_options = together(
    number_option(
        "--budget",
        type=Share(0, 1),
        default=0.25,
        help="Fraction of the steps that run light, such as 0.25 or 25%.",
    ),
    click.option(
        "--save-flops",
        is_flag=True,
        help="The budget is saved FLOPs, formula (3), instead: what several light models need.",
    ),
    choice_option(
        "--by",
        choices=get_args(Objective),
        default="kl",
        help="What a light step costs: relative KL, |CE difference|, or cross-entropy.",
    ),
    count_option("--segments", default=3, help="Most segments of the schedule."),
    count_option("--shortest", default=1, help="Fewest steps in a segment."),
    number_option("--steps", type=STEPS, default=1000, help="T, the number of denoising steps."),
    choice_option(
        "--over",
        choices=["steps", "masked"],
        default="steps",
        help="A schedule over the T steps, or over the number of masked positions that are left; "
        "then the budget is the fraction of the expected forward passes.",
    ),
    choice_option(
        "--sampler",
        choices=["ancestral", "first-hitting"],
        default="ancestral",
        help="With --over masked: sampling in T steps, or one token at a time (T to infinity).",
    ),
    click.option("--heavy", help="The large model.  [default: that of the curves]"),
    click.option(
        "--light",
        "lights",
        multiple=True,
        help="A smaller one; repeatable.  [default: the shallowest of the curves; with "
        "--save-flops all of them]",
    ),
    click.option(
        "--curves",
        type=click.Path(dir_okay=False),
        help="Results of stepimp kl or loss.  [default: the newest]",
    ),
    click.option(
        "--tradeoff",
        is_flag=True,
        help="Also print the best schedule for budgets from nothing to all.",
    ),
    click.option(
        "--verify",
        is_flag=True,
        help="Also sample with the recommendation, the sandwich, the worst quarter and all-heavy, "
        "as stepimp compare does, and show gen-PPL and entropy of the text beside the predicted "
        "path KL.",
    ),
    count_option("--samples", default=32, help="Samples per schedule for --verify.", least=2),
    judge_option,
    save_option,
    model_options,
    yes_option,
)


@click.command()
@recommend_options
def recommend(tradeoff, verify, samples, judge, save, as_json, yes, over, sampler, **options):
    """The schedule that loses least under a budget.

    It is the exact optimum, from the curves and without sampling. Beside it are the hand-crafted
    schedules, with the predicted path KL (9) and NELBO (10) of each in nats per token, and how far
    the boundaries move when the curves' sequences are resampled. Curves are the newest that match
    in the results folder; if there are none, they are measured first.

    With --over masked the model depends on how many positions are still masked, and beside it is
    the best schedule over steps at the same expected cost.

    \b
    Example:
      stepimp recommend --budget 0.25 --verify
      stepimp recommend --over masked --budget 0.4 --save schedule.json
      stepimp recommend --budget 20% --save-flops --light 4b --light 8b --tradeoff
    """
    loading = {name: options.pop(name) for name in ("device", "dtype", "attn")}
    models = ModelOptions(family=options.pop("family"), out=options.pop("out"), **loading)
    options["heavy"] = full_name(options["heavy"], models.family)
    options["lights"] = tuple(full_name(light, models.family) for light in options["lights"])
    if not verify:
        refuse(["samples", "judge"], "counts with --verify alone: give both or none.")
    if over == "masked":
        if verify or options.pop("shortest") != 1:
            raise click.UsageError("--verify and --shortest need --over steps.")
        options["steps"] = None if sampler == "first-hitting" else options["steps"]
        document = recommend_masked_now(models, **options)
        return finish(document, save, as_json, lambda: show_masked(document, tradeoff))
    if sampler != "ancestral":
        raise click.UsageError("--sampler needs --over masked.")
    verification = None
    if verify:
        status("Loading models ...")
        from stepimp.quality.recommendation import Verification

        verification = Verification(samples, judge, **loading)
        confirm(options | vars(models) | {"samples": samples}, yes)
    document = recommend_now(models, verification=verification, **options)
    warn(document)
    finish(document, save, as_json, lambda: show(document, tradeoff))


def finish(document: dict, save: str | None, as_json: bool, show: Callable[[], None]):
    """Saves the schedule where that is asked for, and prints the document or shows its tables."""
    from stepimp.quality.planned import save_schedule

    saved = save_schedule(document, save) if save else None
    if as_json:
        return print_json(document)
    show()
    if saved:
        click.echo(f"The schedule as JSON -> {saved}")


def warn(document: dict):
    """Says where the objective cannot tell steps apart."""
    from stepimp.schedules.recommend import kl_is_resolved

    params = document["params"]
    if params["by"] == "kl" and not kl_is_resolved(document["curves"], params["lights"]):
        click.echo(NOT_RESOLVED, err=True)


def show(document: dict, tradeoff: bool):
    """The tables, and the recommendation in a line."""
    params = document["params"]
    unit = "saved FLOPs" if params["save_flops"] else "light steps"
    click.echo(
        f"T = {params['steps']}, budget {params['budget']:g} of {unit}, curves {params['curves']}"
    )
    print_predictions(document, {}, tradeoff)
    if "verification" in document:
        show_verification(document["verification"])
    click.echo(boundary_line(document["boundaries"]))
    click.echo(f"Recommended: {document['rows'][0]['schedule']} -> {document['path']}")


def print_predictions(document: dict, further: dict[str, str], tradeoff: bool):
    """The tables of the recommendation and, if asked for, of the trade-off.

    further: title -> column of the rows, to be shown after those that all recommendations have.
    """
    statistics = {
        "path KL": "path_kl_nats",
        "NELBO": "nelbo_nats",
        f"objective: {document['params']['by']}": "objective",
        **further,
    }

    def cells(row: dict) -> list[str]:
        saved = [f"{row['light_fraction']:.0%}", f"{row['saved_flops']:.1%}"]
        return [row["schedule"], *saved, *(banded(row, name) for name in statistics.values())]

    columns = ["schedule", "light", "saved", *statistics]
    spare = ("saved", "NELBO", "path KL", "light")
    rows = [[row["name"], *cells(row)] for row in document["rows"]]
    print_table("Predictions in nats per token", ["", *columns], rows, spare)
    if tradeoff:
        rows = [cells(row) for row in document["tradeoff"]]
        print_table("Trade-off: the best schedule for each budget", columns, rows, spare)


def show_masked(document: dict, tradeoff: bool):
    """The tables of a recommendation over masked positions, and the recommendation in a line."""
    params = document["params"]
    unit = "saved FLOPs" if params["save_flops"] else "forward passes that run light"
    steps = f"T = {params['steps']}" if params["steps"] else "One token at a time"
    click.echo(f"{steps}, budget {params['budget']:g} of {unit}, curves {params['curves']}")
    print_predictions(document, {"to best over steps": "over_steps_diff_nats"}, tradeoff)
    best = document["rows"][0]
    click.echo(
        f"Against the best over steps at the same expected cost, {best['best_over_steps']}: "
        f"{banded(best, 'over_steps_diff_nats')} nats per token."
    )
    click.echo(f"Recommended: {best['schedule']} -> {document['path']}")


def show_verification(rows: list[dict]):
    """What was sampled beside what was predicted."""
    columns = {
        "path KL": ("path_kl_nats", None),
        "gen-PPL": ("gen_ppl", 2),
        "log-PPL diff.": ("log_ppl_diff", 3),
        "entropy": ("entropy_nats", 3),
        "difference": ("entropy_diff_nats", 3),
    }
    print_table(
        f"{rows[0]['samples']} samples each, judge {rows[0]['judge']}, differences to all-heavy "
        "paired",
        ["", "schedule", *columns],
        [
            [row["name"], row["schedule"], *(banded(row, *shown) for shown in columns.values())]
            for row in rows
        ],
        spare=("schedule", "difference", "entropy", "gen-PPL"),
    )


def boundary_line(boundaries: dict) -> str:
    """How far each boundary moves, in t."""
    agreement, moves = f"{boundaries['agreement']:.0%}", boundaries["moves"]
    if not moves:
        return f"No boundaries, in {agreement} of the resamples."
    texts = []
    for move in moves:
        text = f"{move['before']} to {move['after']} at t = {move['t']:.2f}"
        if boundaries["agreement"]:
            text += f" [{move['t_low']:.2f}, {move['t_high']:.2f}]"
        texts.append(text)
    return f"Boundaries: {'; '.join(texts)}; in this order in {agreement} of the resamples."
