"""`stepimp compare`: schedules side by side."""

import math

import click

from ._options import data_option, judge_option, model_options
from ._print import banded, print_json, print_table
from ._progress import progress, status


class Sweep(click.ParamType):
    """start:stop:step -> the fractions from start to stop, both included."""

    name = "start:stop:step"

    def convert(self, value, param, ctx):
        try:
            start, stop, step = map(float, value.split(":"))
        except ValueError:
            start = stop = step = math.nan
        if not (0 <= start <= stop <= 1 and 0 < step < math.inf):
            self.fail(f"{value!r} is no range of fractions such as 0:1:0.1.", param, ctx)
        return [start + i * step for i in range(1 + math.floor((stop - start) / step + 1e-9))]


@click.command()
@click.option("--heavy", default="12b", show_default=True, help="The large model.")
@click.option(
    "--light",
    "lights",
    multiple=True,
    default=("4b",),
    show_default=True,
    help="A smaller one; repeatable.",
)
@click.option(
    "--schedule",
    "schedules",
    multiple=True,
    help="Compare this one instead, such as L125,H750,L125; repeatable.",
)
@click.option(
    "--fractions",
    type=Sweep(),
    help="Compare sandwiches with these fractions of light steps instead.",
)
@click.option("--steps", type=click.IntRange(min=1), default=1000, show_default=True, help="T.")
@click.option(
    "--samples",
    type=click.IntRange(min=2),
    default=32,
    show_default=True,
    help="Samples per schedule.",
)
@click.option(
    "--length",
    type=click.IntRange(min=1),
    help="Tokens per sample.  [default: the models' maximum]",
)
@click.option(
    "--prefix-length",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Start each sample with as many tokens of a held-out sequence of --data; they are not scored.",
)
@data_option
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Samples drawn together with one schedule before it is the next one's turn.",
)
@judge_option
@model_options
def compare(
    heavy,
    lights,
    schedules,
    fractions,
    steps,
    samples,
    length,
    prefix_length,
    data,
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
    """Gen-PPL, entropy, FLOPs and seconds of several schedules with the same random numbers.

    By default the paper's seven: a quarter of the steps light in a sandwich or in one quarter, all
    light and all heavy; and the newest recommendation for these models. Text is scored as `stepimp
    evaluate` does; a prefix counts for the entropy alone. The log-PPL difference is the mean of the
    paired differences to all-heavy, in nats per token; below the table stand the placements of as
    many light steps that differ from each other.

    Samples stay in files of their own in --out. What was drawn before, in a killed run or another
    one, is not drawn again, and brings its seconds along: saved seconds are told only where
    all-heavy was timed in the same run.

    \b
    Example:
      stepimp compare --light 4b --light 8b
      stepimp compare --fractions 0:1:0.1
      stepimp compare --prefix-length 16 --samples 64
    """
    lights = tuple(dict.fromkeys(lights))
    if heavy in lights:
        raise click.BadParameter(
            f"{heavy} is the heavy model: choose another light one.", param_hint="--light"
        )
    from stepimp.schedules.schedule import parse

    given = [(light, parse(text, heavy, light, steps)) for light in lights for text in schedules]
    status("Loading models ...")
    from stepimp.models.family import corpus, family_folder, recorded
    from stepimp.models.loading import load
    from stepimp.quality import comparison as library
    from stepimp.quality.judge import judge_of, load_judge
    from stepimp.results import Run, results_folder

    results_folder(out)
    names = [heavy, *lights, *(name for _, plan in given for name in plan.models)]
    members = load(names, family_folder(family), device, dtype, attn)
    scorer = load_judge(judge or judge_of(family_folder(family)), device)
    length = length or min(model.max_length for model in members.denoisers.values())
    prefixes = text = None
    if prefix_length:
        data = data or corpus(family_folder(family))
        prefixes, text = library.text_prefixes(data, members, samples, length, prefix_length, seed)
    plans = [library.Plan("given", light, plan) for light, plan in given]
    for light in lights if fractions else ():
        plans += library.swept(steps, fractions, heavy, light)
    if not plans:
        plans = default_plans(library, out, steps, heavy, lights, members)
    setting = library.Setting(
        members, heavy, samples, length, seed, out, prefixes, text, batch_size, dtype
    )
    params = dict(
        heavy=heavy,
        lights=list(lights),
        plans=[[p.name, p.light, p.schedule.format()] for p in plans],
        steps=steps,
        samples=samples,
        length=length,
        prefix_length=prefix_length,
        data=data if prefix_length else None,
        batch_size=batch_size,
        judge=scorer.name,
        seed=seed,
        dtype=dtype,
        family=recorded(family),
    )
    fingerprints = {"models": members.fingerprints, "judge": scorer.fingerprint, "data": text}
    run = Run(out, "compare", params, fingerprints, members.any.device, dtype)
    with progress("batches of samples") as moved:
        rows, each = library.compare(setting, plans, scorer, run.started, moved)
    pairs = library.placements(rows, each, heavy)
    document = run.finish(rows, pairs=pairs, per_sample=each, blocks=members.blocks)
    if as_json:
        return print_json(document)
    show(document)


def default_plans(library, out, steps, heavy, lights, members):
    """The paper's seven and the recommendation for each light model; says where there is none."""
    plans = []
    for light in lights:
        plans += library.hand_crafted(steps, heavy, light)
        if found := library.recommended(out, steps, heavy, light, members.fingerprints):
            plans.insert(0, found)
        else:
            click.echo(
                f"No recommendation for {heavy} and {light} at T = {steps} in {out}: stepimp recommend "
                f"--budget 0.25 --heavy {heavy} --light {light} --steps {steps} makes one.",
                err=True,
            )
    return plans


def show(document: dict):
    """The table, and what was found in a line."""
    params, rows = document["params"], document["rows"]
    given = f", {params['prefix_length']} of them given" if params["prefix_length"] else ""
    print_table(
        f"{params['samples']} samples each, T = {params['steps']}, {params['length']} tokens{given}, judge "
        f"{params['judge']}",
        [
            "",
            "schedule",
            "gen-PPL",
            "corpus",
            "log-PPL diff",
            "entropy",
            "FLOPs",
            "exact",
            "seconds",
            "saved",
        ],
        [cells(row, len(params["lights"]) > 1) for row in rows],
    )
    if empty := sum(row["empty"] for row in rows):
        click.echo(
            f"{empty} samples had nothing to score and count as one token of probability 1/V.",
            err=True,
        )
    if document["pairs"]:
        click.echo(placement_line(document["pairs"]))
    lighter = [row for row in rows if row["name"] not in ("all-heavy", "all-light")] or rows
    best = min(lighter, key=lambda row: row["log_ppl_diff"])
    click.echo(
        f"Least log-PPL difference: {best['schedule']}, {banded(best, 'log_ppl_diff', 3)} nats per token -> "
        f"{document['path']}"
    )


def placement_line(pairs: list[dict]) -> str:
    """Which placements of as many light steps the samples tell apart, the largest differences
    first.
    """
    told = [pair for pair in pairs if pair["log_ppl_diff_low"] > 0]
    counted = f"{len(told)} of {len(pairs)} pairs of placements differ, all at 95% together"
    named = [
        f"{pair['worse']} above {pair['better']} by {banded(pair, 'log_ppl_diff', 3)}"
        for pair in told or pairs[:1]
    ]
    return f"{counted}: {'; '.join(named[:3])}" if told else f"{counted}; the most: {named[0]}"


def cells(row: dict, several: bool) -> list[str]:
    """FLOPs are those saved by formula (3), exact those saved in fact. several: there are several
    light models.
    """
    name = f"{row['name']} {row['light']}" if several and row["light"] else row["name"]
    saved = "-" if math.isnan(row["saved_seconds"]) else f"{row['saved_seconds']:.1%}"
    return [
        name,
        row["schedule"],
        banded(row, "gen_ppl", 2),
        f"{row['corpus_ppl']:.2f}",
        banded(row, "log_ppl_diff", 3),
        f"{row['entropy_nats']:.2f}",
        f"{row['saved_flops']:.1%}",
        f"{row['saved_flops_exact']:.1%}",
        banded(row, "seconds", 1),
        saved,
    ]
