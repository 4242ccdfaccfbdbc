"""`stepimp recommend`: curves and a budget to a schedule."""

from pathlib import Path

import click

from ._curves import check_weights, curves_document, curves_for
from ._options import FloatRange, judge_option, model_options, together
from ._print import banded, print_json, print_table
from ._progress import progress, status

NOT_RESOLVED = (
    "Warning: nowhere is the relative KL resolved above 0: at no step does the light model differ more from the heavy one "
    "than another seed does, so --by kl cannot tell steps apart. Train the family longer, or use --by nelbo or loss."
)

recommend_options = together(
    click.option(
        "--budget",
        type=FloatRange(0, 1),
        default=0.25,
        show_default=True,
        help="Fraction of the steps that run light.",
    ),
    click.option(
        "--save-flops",
        is_flag=True,
        help="The budget is saved FLOPs, formula (3), instead: what several light models need.",
    ),
    click.option(
        "--by",
        type=click.Choice(["kl", "loss", "nelbo"]),
        default="kl",
        show_default=True,
        help="What a light step costs: relative KL, |CE difference|, or cross-entropy.",
    ),
    click.option(
        "--segments",
        type=click.IntRange(min=1),
        default=3,
        show_default=True,
        help="Most segments of the schedule.",
    ),
    click.option(
        "--shortest",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Fewest steps in a segment.",
    ),
    click.option(
        "--steps",
        type=click.IntRange(min=1),
        default=1000,
        show_default=True,
        help="T, the number of denoising steps.",
    ),
    click.option("--heavy", help="The large model.  [default: the curves', else 12b]"),
    click.option(
        "--light",
        "lights",
        multiple=True,
        help="A smaller one; repeatable.  [default: the shallowest of the curves; with --save-flops all of them]",
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
        help="Also sample with the recommendation, the sandwich, the worst quarter and all-heavy, as stepimp compare "
        "does, and hold the predicted path KL against the gen-PPL and the entropy of the text.",
    ),
    click.option(
        "--samples",
        type=click.IntRange(min=2),
        default=32,
        show_default=True,
        help="Samples per schedule for --verify.",
    ),
    judge_option,
    model_options,
)


@click.command()
@recommend_options
def recommend(
    budget,
    save_flops,
    by,
    segments,
    shortest,
    steps,
    heavy,
    lights,
    curves,
    tradeoff,
    verify,
    samples,
    judge,
    family,
    device,
    dtype,
    attn,
    seed,
    out,
    as_json,
):
    """The schedule that loses least under a budget: the exact optimum, from the curves and without
    sampling.

    Beside it stand the schedules people write by hand, with the predicted path KL (9) and NELBO
    (10) of each in nats per token, and how far the boundaries move when the curves' sequences are
    drawn again. Curves are the newest that match in the results folder; if there are none, they are
    measured first.

    \b
    Example:
      stepimp recommend --budget 0.25 --verify
      stepimp recommend --budget 0.2 --save-flops --light 4b --light 8b --segments 5 --tradeoff
    """
    from stepimp.errors import StepimpError
    from stepimp.results import Run, results_folder
    from stepimp.schedules.recommend import recommend_from

    results_folder(out)
    models = dict(family=family, device=device, dtype=dtype, attn=attn)
    document = curves_document(curves) if curves else curves_for(by, heavy, lights, models, out)
    measured = document["params"]
    if heavy not in (None, measured["heavy"]):
        raise StepimpError(
            f"{document['path']} has {measured['heavy']} as the heavy model, not {heavy}."
        )
    options = dict(
        budget=budget,
        save_flops=save_flops,
        by=by,
        segments=segments,
        shortest=shortest,
        steps=steps,
        seed=seed,
    )
    lights = scheduled_lights(document, lights, save_flops)
    params = {
        **options,
        "lights": lights,
        **{name: measured[name] for name in ("heavy", "baseline", "family")},
        "curves": Path(document["path"]).name,
        "samples": samples if verify else None,
        "dtype": dtype if verify else None,
    }
    found = recommend_from(document, lights, **options)
    fingerprints, on = document["provenance"]["fingerprints"], ()
    if verify:
        members, scorer = load_to_verify(document, models, judge)
        fingerprints, on = (
            {**fingerprints, "judge": scorer.fingerprint},
            (members.any.device, dtype),
        )
    run = Run(out, "recommend", params, fingerprints, *on)
    if verify:
        found["verification"] = verification(
            members, scorer, found["rows"], params, measured["length"], run
        )
    result = run.finish(**found, blocks=document["blocks"], curve_params=measured)
    if by == "kl" and not kl_resolved(result["curves"], lights):
        click.echo(NOT_RESOLVED, err=True)
    if as_json:
        return print_json(result)
    show(result, tradeoff)


def scheduled_lights(document, lights, save_flops) -> list[str]:
    """Those asked for, else all; a fraction of light steps says nothing of depth, so then only the
    shallowest.
    """
    measured = document["params"]["lights"]
    if lights or save_flops:
        return list(dict.fromkeys(lights or measured))
    return [min(measured, key=document["blocks"].get)]


def kl_resolved(rows, lights) -> bool:
    """Whether the relative KL of a light model is anywhere above 0 by its band; always without a
    baseline.
    """
    lows = [row.get("relative_kl_nats_low") for row in rows if row["model"] in lights]
    return any(low is None or low > 0 for low in lows)


def load_to_verify(document, models, judge):
    """The curves' models, which must still have the weights the curves were measured with, and the
    judge.
    """
    from stepimp.models.family import family_folder
    from stepimp.models.loading import load
    from stepimp.quality.judge import judge_of, load_judge

    weights = document["provenance"]["fingerprints"]["models"]
    status("Loading models ...")
    folder = family_folder(document["params"]["family"])
    members = load(weights, folder, *(models[k] for k in ("device", "dtype", "attn")))
    check_weights(document, members.fingerprints)
    return members, load_judge(judge or judge_of(folder), models["device"])


def verification(members, judge, rows, params, length, run) -> list[dict]:
    """Rows of `stepimp compare`, each with its prediction."""
    from stepimp.quality.candidates import Candidate
    from stepimp.quality.comparison import compare
    from stepimp.quality.paired_samples import Setting
    from stepimp.schedules.recommend import schedules_to_verify
    from stepimp.schedules.schedule import parse

    heavy, (light, *others) = params["heavy"], params["lights"]
    predicted = {row["name"]: row for row in schedules_to_verify(rows)}
    about = {name: None if others or name == "all-heavy" else light for name in predicted}
    plans = [
        Candidate(name, about[name], parse(row["schedule"], heavy, light))
        for name, row in predicted.items()
    ]
    setting = Setting(
        members,
        heavy,
        params["samples"],
        length,
        params["seed"],
        str(run.path.parent),
        dtype=params["dtype"],
    )
    with progress("batches of samples") as moved:
        measured, _ = compare(setting, plans, judge, run.started, moved)
    columns = [
        name + end for name in ("path_kl_nats", "nelbo_nats") for end in ("", "_low", "_high")
    ]
    return [
        row | {key: predicted[row["name"]][key] for key in columns} | {"judge": judge.name}
        for row in measured
    ]


def show(result: dict, tradeoff: bool):
    """The tables, and what was found in a line."""
    params = result["params"]
    unit = "saved FLOPs" if params["save_flops"] else "light steps"
    columns = ["schedule", "light", "saved FLOPs", "path KL", "NELBO", f"objective: {params['by']}"]
    title = f"T = {params['steps']}, budget {params['budget']:g} of {unit}, curves {params['curves']}, nats per token"
    print_table(title, ["", *columns], [[row["name"], *cells(row)] for row in result["rows"]])
    if tradeoff:
        print_table(
            "Trade-off: the best schedule for each budget",
            columns,
            [cells(row) for row in result["tradeoff"]],
        )
    if "verification" in result:
        show_verification(result["verification"])
    click.echo(boundary_line(result["boundaries"]))
    click.echo(f"Recommended: {result['rows'][0]['schedule']} -> {result['path']}")


def cells(row: dict) -> list[str]:
    statistics = [banded(row, name) for name in ("path_kl_nats", "nelbo_nats", "objective")]
    return [
        row["schedule"],
        f"{row['light_fraction']:.0%}",
        f"{row['saved_flops']:.1%}",
        *statistics,
    ]


def show_verification(rows: list[dict]):
    names = {
        "path_kl_nats": None,
        "gen_ppl": 2,
        "log_ppl_diff": 3,
        "entropy_nats": 3,
        "entropy_diff_nats": 3,
    }
    print_table(
        f"{rows[0]['samples']} samples each, judge {rows[0]['judge']}, differences to all-heavy paired",
        ["", "schedule", "path KL", "gen-PPL", "log-PPL difference", "entropy", "difference"],
        [
            [row["name"], row["schedule"], *(banded(row, *one) for one in names.items())]
            for row in rows
        ],
    )


def boundary_line(found: dict) -> str:
    """How far each boundary moves, in t."""
    if not found["moves"]:
        return f"No boundaries; so in {found['agreement']:.0%} of the resamples."
    moves = [f"{one['before']} to {one['after']} at t = {one['t']:.2f}" for one in found["moves"]]
    if found["agreement"]:
        moves = [
            f"{text} [{one['t_low']:.2f}, {one['t_high']:.2f}]"
            for text, one in zip(moves, found["moves"])
        ]
    return f"Boundaries: {'; '.join(moves)}; in this order in {found['agreement']:.0%} of the resamples."
