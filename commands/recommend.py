"""`stepimp recommend`: curves and a budget to a schedule."""

import click

from ._curves import measure_curves
from ._options import output_options
from ._print import banded, print_json, print_table
from ._progress import status


@click.command()
@click.option("--budget", type=click.FloatRange(0, 1), default=0.25, show_default=True, help="Fraction of the steps that run light.")
@click.option("--save-flops", is_flag=True, help="The budget is saved FLOPs, formula (3), instead: what several light models need.")
@click.option("--by", type=click.Choice(["kl", "loss", "nelbo"]), default="kl", show_default=True,
              help="What a light step costs: relative KL, |CE difference|, or cross-entropy.")
@click.option("--segments", type=click.IntRange(min=1), default=3, show_default=True, help="Most segments of the schedule.")
@click.option("--shortest", type=click.IntRange(min=1), default=1, show_default=True, help="Fewest steps in a segment.")
@click.option("--steps", type=click.IntRange(min=1), default=1000, show_default=True, help="T, the number of denoising steps.")
@click.option("--heavy", help="The large model.  [default: the curves', else 12b]")
@click.option("--light", "lights", multiple=True, help="A smaller one; repeatable.  [default: the curves', else 4b]")
@click.option("--curves", type=click.Path(dir_okay=False), help="Results of stepimp kl or loss.  [default: the newest]")
@click.option("--family", type=click.Path(file_okay=False), envvar="STEPIMP_FAMILY", help="For curves that must be measured first.")
@output_options
def recommend(budget, save_flops, by, segments, shortest, steps, heavy, lights, curves, family, seed, out, as_json):
    """The schedule that loses least under a budget: the exact optimum, from the curves and without sampling.

    Without --save-flops one light model is scheduled, the shallowest unless --light says otherwise. Beside it stand the
    schedules people write by hand, with the predicted path KL (9) and NELBO (10) of each, in nats per token. Curves
    are the newest that match in the results folder; if there are none, they are measured first.

    \b
    Example:
      stepimp recommend --budget 0.25
      stepimp recommend --budget 0.2 --save-flops --segments 5
    """
    from stepimp.recommend import recommend_from
    from stepimp.results import Run, newest, read_document, results_folder

    results_folder(out)
    wanted = "loss" if by == "loss" else "kl"
    document = read_document(curves) if curves else newest(out, wanted, lambda d: fits(d, heavy, lights, family))
    if document is None:
        status("No matching curves yet: measuring them first.")
        document = measure_default_curves(wanted, heavy or "12b", lights or ("4b",), family, out)
    params = dict(budget=budget, save_flops=save_flops, by=by, segments=segments, shortest=shortest, steps=steps,
                  heavy=document["params"]["heavy"], lights=list(lights) or document["params"]["lights"],
                  baseline=document["params"]["baseline"], family=document["params"]["family"], seed=seed,
                  curves=document["path"].rpartition("/")[-1])  # fmt: skip
    fingerprints = document["provenance"]["fingerprints"]
    run = Run(out, "recommend", params, fingerprints)
    found = recommend_from(document, params)
    result = run.finish(**found, curves=document["rows"], curve_params=document["params"],
                        blocks=document["blocks"])  # fmt: skip
    if as_json:
        return print_json(result)
    print_table(
        f"T = {steps}, budget {budget:g} {'saved FLOPs' if save_flops else 'light steps'}, by {by}, from {document['path']}",
        ["", "schedule", "light", "saved FLOPs", "path KL (nats/token)", "NELBO (nats/token)", f"objective ({by})"],
        [[row["name"], row["schedule"], f"{row['light_fraction']:.0%}", f"{row['saved_flops']:.1%}",
          banded(row, "path_kl_nats"), banded(row, "nelbo_nats"), banded(row, "objective", 5)] for row in result["rows"]],
    )  # fmt: skip
    click.echo(f"Recommended: {result['rows'][0]['schedule']} -> {result['path']}")


def fits(document, heavy, lights, family) -> bool:
    from pathlib import Path

    params = document["params"]
    return (
        (heavy is None or params["heavy"] == heavy)
        and set(lights) <= set(params["lights"])
        and params["family"] == (str(Path(family).resolve()) if family else None)
    )


def measure_default_curves(command, heavy, lights, family, out) -> dict:
    """Curves with the options a bare `stepimp kl` has, and another seed of the heavy model where the family has one."""
    from stepimp.commands.kl import kl
    from stepimp.family import family_folder, read_manifest

    members = read_manifest(family_folder(family))["members"]
    seeds = sorted(name for name in members if name.startswith(f"{heavy}_seed"))
    defaults = kl.make_context("kl", [], resilient_parsing=False).params
    return measure_curves(command, **{**defaults, "heavy": heavy, "lights": lights, "family": family, "out": out,
                                      "baseline": seeds[0] if seeds else None})  # fmt: skip
