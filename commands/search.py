"""`stepimp search`: every coarse schedule, what each segment matters, and how well the curves
foresaw it.
"""

import time
from contextlib import nullcontext
from math import comb
from pathlib import Path

import click

from ._curves import check_weights, curves_document, curves_for
from ._options import FloatRange, judge_option, model_options
from ._print import banded, print_json, print_table
from ._progress import progress, status

MOST_SCHEDULES = 10_000
SHOWN = 5  # schedules at each end of the ranking
BAR = 16  # characters of the longest bar
NAMES = {
    "predicted_path_kl_nats": "path KL",
    "predicted_nelbo_nats": "NELBO",
    "predicted_relative_kl_nats": "relative KL",
}


@click.command()
@click.option("--heavy", default="12b", show_default=True, help="The large model.")
@click.option("--light", default="4b", show_default=True, help="The smaller one.")
@click.option(
    "--segments",
    type=click.IntRange(min=2),
    default=10,
    show_default=True,
    help="Parts of the trajectory.",
)
@click.option(
    "--light-segments",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="How many of them run light.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1, max=1_000_000),
    default=1000,
    show_default=True,
    help="T, the number of denoising steps.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=2),
    default=160,
    show_default=True,
    help="Samples per schedule.",
)
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
    help="After each chunk drop the schedules that are out of the running for the best --top.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="How many of the best --race is to find.",
)
@click.option(
    "--confidence",
    type=FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Probability with which --race drops none of the best.",
)
@click.option(
    "--chunk",
    type=click.IntRange(min=2),
    default=32,
    show_default=True,
    help="Samples that are drawn together; --race looks after each.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Sequences per forward pass.",
)
@judge_option
@model_options
def search(
    heavy,
    light,
    segments,
    light_segments,
    steps,
    samples,
    length,
    curves,
    race,
    top,
    confidence,
    chunk,
    batch_size,
    judge,
    family,
    device,
    dtype,
    attn,
    seed,
    out,
    as_json,
):
    """Sample with every schedule that is light in 4 of 10 equal segments, and rank them by gen-PPL
    under a judge.

    All schedules share their random numbers, and those that begin alike that part of the work: 790
    segments run where 210 schedules have 2100. Beside the ranking stand the influence of each
    segment (8) and how well path KL and NELBO, predicted from the curves, foresaw the ranking. A
    killed search goes on where it was, schedule by schedule. Several processes: torchrun
    --nproc-per-node 2 -m stepimp search ...

    \b
    Example:
      stepimp search --heavy 12b --light 4b --race
    """
    check_sizes(segments, light_segments, steps, race and top)
    if heavy == light:
        raise click.BadParameter(
            f"{heavy} is the heavy model: choose another light one.", param_hint="--light"
        )
    status("Loading models ...")
    from stepimp.curves.measurements import Measurements
    from stepimp.models.family import family_folder, recorded
    from stepimp.models.loading import load
    from stepimp.processes import Processes
    from stepimp.quality import evaluation
    from stepimp.quality.judge import judge_of, load_judge
    from stepimp.results import Run, results_folder
    from stepimp.sampling import sampler
    from stepimp.search import ranking
    from stepimp.search.elimination import Race
    from stepimp.search.exhaustive import Coarse
    from stepimp.search.exhaustive import search as run_search

    results_folder(out)
    processes = Processes()
    models = dict(family=family, device=processes.device(device), dtype=dtype, attn=attn)
    members = load(
        [heavy, light], family_folder(family), *(models[k] for k in ("device", "dtype", "attn"))
    )
    length = length or min(model.max_length for model in members.denoisers.values())
    coarse = Coarse(heavy, light, steps, segments, light_segments)
    sampler.check(members.denoisers, coarse.schedule(coarse.names()[0]), length)
    scorer = load_judge(judge or judge_of(family_folder(family)), models["device"])
    document = find_curves(curves, heavy, light, models, out) if processes.rank == 0 else None
    document = processes.gather({} if document is None else {"curves": document})["curves"]
    check_weights(document, members.fingerprints)
    predicted = ranking.predictions(Measurements.unpack(document), coarse, seed)
    contest = Race(top, confidence) if race else None
    params = dict(
        heavy=heavy,
        light=light,
        segments=segments,
        light_segments=light_segments,
        steps=steps,
        samples=samples,
        length=length,
        judge=scorer.name,
        race=contest and vars(contest),
        chunk=chunk,
        seed=seed,
        dtype=dtype,
        family=recorded(family),
    )
    fingerprints = {"models": members.fingerprints, "judge": scorer.fingerprint}
    run = Run(out, "search", params, fingerprints, members.any.device, dtype)
    counts, started = sampler.Counts(), time.perf_counter()

    def score(tokens):
        texts = members.tokenizer.batch_decode(tokens)
        log_ppl = evaluation.score(scorer, texts, batch_size=batch_size).log_ppl
        return log_ppl, evaluation.unigram_entropy(tokens.tolist())

    with (
        progress("schedules x chunks")
        if processes.rank == 0
        else nullcontext(lambda done, total: None) as moved
    ):
        log_ppl, entropy = run_search(
            members.denoisers,
            coarse,
            samples,
            length,
            seed=seed,
            score=score,
            batch_size=batch_size,
            chunk=chunk,
            race=contest,
            journal=run.journal(processes.rank, processes.count),
            processes=processes,
            counts=counts,
            progress=moved,
        )
    forwards = sum(processes.gather({processes.rank: counts.forwards.total()}).values())
    if processes.rank:
        return
    found = ranking.results(coarse, log_ppl, entropy, predicted, seed)
    if race:
        found["race"] = ranking.race_rounds(coarse, entropy, chunk)
    cost = {
        "forwards": forwards,
        "processes": processes.count,
        "seconds": time.perf_counter() - started,
    }
    result = run.finish(
        **found, cost=cost, blocks=members.blocks, curves=Path(document["path"]).name
    )
    if as_json:
        return print_json(result)
    show(result)


def check_sizes(segments, light_segments, steps, top):
    """Usage errors that more than one option makes. top: that of a race, or False."""
    if light_segments >= segments:
        raise click.BadParameter(
            f"{light_segments} must be fewer than the {segments} segments.",
            param_hint="--light-segments",
        )
    if steps < segments:
        raise click.BadParameter(
            f"{steps} steps make no {segments} segments.", param_hint="--steps"
        )
    schedules = comb(segments, light_segments)
    if schedules > MOST_SCHEDULES:
        raise click.BadParameter(
            f"{segments} segments, {light_segments} of them light, make {schedules:,} schedules; the most is "
            f"{MOST_SCHEDULES:,}.",
            param_hint="--segments",
        )
    if top and top >= schedules:
        raise click.BadParameter(
            f"{top} must be fewer than the {schedules} schedules.", param_hint="--top"
        )


def find_curves(path, heavy, light, models, out) -> dict:
    """The curves that predict the ranking: those of the file, else the newest, else measured
    now.
    """
    from stepimp.errors import StepimpError

    if not path:
        return curves_for("kl", heavy, (light,), models, out)
    document = curves_document(path)
    measured = document["params"]
    if measured["heavy"] != heavy or light not in measured["lights"]:
        raise StepimpError(
            f"{path} has curves of {measured['heavy']} and {', '.join(measured['lights'])}, not of "
            f"{heavy} and {light}: give others, or none to have them found."
        )
    return document


def show(result: dict):
    """The tables, and what was found in a line."""
    rows, params = result["rows"], result["params"]
    predicted = [name for name in NAMES if name in rows[0]]
    ends = rows if len(rows) <= 2 * SHOWN else [*rows[:SHOWN], *rows[-SHOWN:]]
    print_table(
        f"{len(rows)} schedules of {params['samples']} samples, T = {params['steps']}, judge {params['judge']}",
        [
            "rank",
            "segments",
            "schedule",
            "gen-PPL",
            "entropy",
            *(NAMES[name] for name in predicted),
        ],
        [
            [
                str(row["rank"]),
                row["segments"],
                row["schedule"],
                banded(row, "gen_ppl", 2),
                f"{row['entropy_nats']:.3f}",
                *(banded(row, name) for name in predicted),
            ]
            for row in ends
        ],
    )
    show_influence(result["influence"])
    print_table(
        f"How well {result['curves']} foresaw it: rank correlations with gen-PPL, and what its choice loses",
        ["predicted by", "Spearman", "Kendall", "its choice", "rank", "gen-PPL over the best"],
        [
            [
                NAMES[row["predicted_by"]],
                interval(row, "spearman"),
                interval(row, "kendall"),
                row["segments"],
                str(row["rank"]),
                banded(row, "regret_ppl", 2),
            ]
            for row in result["predictions"]
        ],
    )
    if "race" in result:
        last = result["race"]["rounds"][-1]
        saved = f"{result['race']['saved']:.0%}"
        click.echo(
            f"The race left {last['schedules']} schedules in the running and saved {saved} of the segments; "
            "influence and correlations are of the samples that all schedules have."
        )
    best, worst = rows[0], rows[-1]
    click.echo(
        f"Best: {best['segments']}, gen-PPL {best['gen_ppl']:.1f}; worst: {worst['segments']}, "
        f"{worst['gen_ppl']:.1f}; {result['cost']['forwards']:,} forwards -> {result['path']}"
    )


def show_influence(rows: list[dict]):
    """A bar per segment, to the left where light is better there than elsewhere."""
    most = max(abs(row["influence_ppl"]) for row in rows)
    ends = rows[0]["extremes"]
    print_table(
        "Influence of each segment: gen-PPL of the schedules that are light there, minus that of all",
        ["segment", "t", "", "influence", f"best {ends}", f"worst {ends}"],
        [
            [
                str(row["segment"]),
                f"{row['t_from']:.2f} -> {row['t_to']:.2f}",
                bar(row["influence_ppl"], most),
                banded(row, "influence_ppl", 2),
                f"{row['light_in_top']:.0%}",
                f"{row['light_in_bottom']:.0%}",
            ]
            for row in rows
        ],
    )


def bar(value: float, most: float) -> str:
    """To the left of the middle if below 0, to the right if above."""
    blocks = "█" * round(BAR * abs(value) / (most or 1))
    return f"{blocks if value < 0 else '':>{BAR}}│{blocks if value > 0 else '':<{BAR}}"


def interval(row: dict, name: str) -> str:
    """A value and its 95% band, which need not have the value in its middle."""
    from stepimp.intervals import Estimate

    estimate = Estimate.of(row, name)
    return f"{estimate.value:.2f} {estimate.brackets()}"
