"""How much work a command line is, by its sizes alone and before anything is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from stepimp.estimates.work import Work

CURVES = ("loss", "kl", "cascade")  # commands that corrupt text
SAMPLING = ("generate", "compare", "search", "profile", "recommend")
JUDGED = ("compare", "search")
VERIFIED = 4  # schedules that a recommendation is compared with, itself included
DEFAULT_STEPS = 1000  # T where a command does not say
BATCH = 16  # sequences per forward pass where a command has no option for it


def cores() -> int:
    """The cores this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work(arguments: list[str], folder: Path, group: click.Group) -> float:
    """`block_tokens` of a command line. group: stepimp, which parses it."""
    command, *options = arguments
    return block_tokens(
        command, group.commands[command].make_context(command, options).params, folder
    )


def block_tokens(command: str, params: dict[str, Any], folder: Path) -> float:
    """Tokens times the blocks they go through; 0 for a command that names a model which the family
    in this folder does not have, as it will fail, and for one that runs no model.

    params: its options as click has parsed them.
    """
    from stepimp.curves.options import CurveOptions
    from stepimp.models.family import read_manifest
    from stepimp.paper.needs import members_of

    blocks = {name: facts["blocks"] for name, facts in read_manifest(folder)["members"].items()}
    params = params | default_models(params, folder)
    masked = params.get("over") == "masked"
    try:
        if command == "plan" or (command == "recommend" and masked):  # if no curves are there
            inputs = CurveOptions.sequences * CurveOptions.points
            models = {params["heavy"], *params["lights"]}
            return members_of(folder).length * inputs * sum(blocks[model] for model in models)
        if command not in CURVES + SAMPLING or (command == "recommend" and not params["verify"]):
            return 0.0
        return planned(command, params, folder).block_tokens(blocks)
    except KeyError:
        return 0.0


def planned(command: str, params: dict[str, Any], folder: Path) -> "Work":
    """What a command of CURVES or SAMPLING runs. params: its options as click has parsed them.

    Raises StepimpError for sizes that do not go together.
    """
    from stepimp.curves.options import CurveOptions
    from stepimp.estimates import work as of
    from stepimp.paper.needs import members_of

    params = params | default_models(params, folder)
    if command == "cascade" and "lights" not in params:  # as the command line has them
        params = params | {"lights": (params["light"],), "baseline": None}
        params |= {"repeats": CurveOptions.repeats, "inputs": CurveOptions.inputs}
    length: int = params["length"] or members_of(folder).length
    batch_size: int = params.get("batch_size", BATCH)
    samples: int = params.get("samples", 0)
    if command in CURVES:
        models = [params["heavy"], *params["lights"], *filter(None, [params["baseline"]])]
        curves = of.curves_work(
            models,
            params["sequences"],
            params["repeats"],
            params["points"],
            length,
            batch_size,
        )
        if params["inputs"] == "samples":
            drawn = of.sampling_work(
                [all_heavy(params["heavy"], DEFAULT_STEPS)],
                params["sequences"], length, length, batch_size, 2 * batch_size,
            )  # fmt: skip
            curves.add(drawn)
        return curves
    if command == "search":
        from stepimp.search.coarse import Coarse

        names = ("heavy", "light", "steps", "segments", "light_segments")
        coarse = Coarse(*(params[name] for name in names))
        return of.search_work(coarse, samples, length, batch_size, params["chunk"])
    plans = schedules(command, params)
    given = params.get("prefix_length", 0)
    together = 2 * batch_size if command == "generate" else batch_size
    drawn = of.sampling_work(
        plans, samples, length, length - given, batch_size, together, shared_start=not given
    )
    if command in JUDGED:
        drawn.texts = len(plans) * samples
    return drawn.repeated(params["repeats"]) if command == "profile" else drawn


def default_models(params: dict, folder: Path) -> dict:
    """The family's deepest and shallowest model, where a command line names none."""
    from stepimp.models.family import default_members

    defaults: dict[str, Any] = {}
    named = {name for name in ("heavy", "light", "lights") if name in params}
    if not all(params[name] for name in named):
        heavy, light = default_members(folder)
        defaults = {"heavy": heavy, "light": light, "lights": (light,)}
    return {name: model for name, model in defaults.items() if name in named and not params[name]}


def all_heavy(heavy: str, steps: int):
    """The schedule of one model."""
    from stepimp.schedules.schedule import Schedule

    return Schedule(((heavy, steps),))


def schedules(command: str, params: dict) -> list:
    """The schedules a command samples with (`profile` repeats all of them); without a
    recommendation, which is not known yet.
    """
    from stepimp.errors import StepimpError
    from stepimp.quality.candidates import given, papers_seven, sandwiches
    from stepimp.schedules.schedule import Schedule, parse, sandwich

    heavy = params["heavy"]
    if command == "generate":
        light, steps = params["light"], params["steps"]
        try:
            if params["schedule"]:
                return [parse(params["schedule"], heavy, light, steps)]
        except StepimpError:  # in another notation, or wrong: the command will say so itself
            return [all_heavy(heavy, steps or DEFAULT_STEPS)]
        steps = steps or DEFAULT_STEPS
        return [sandwich(steps, steps // 4, heavy, light)]  # as a recommendation saves
    steps = params["steps"] or DEFAULT_STEPS
    if command == "recommend":  # none of those it verifies costs more than this one
        return VERIFIED * [all_heavy(heavy, steps)]
    if command == "profile":
        parts = params["points"] - 1
        swept = sandwiches(steps, [k / parts for k in range(parts + 1)], heavy, params["light"])
        return [all_heavy(heavy, steps), *(candidate.schedule for candidate in swept)]
    lights, fractions = params["lights"], params["fractions"] or ()
    compared = given(steps, params["schedules"], fractions, heavy, lights)
    if not compared:
        compared = [each for light in lights for each in papers_seven(steps, heavy, light)]
    # Others, over masked positions or of a plan, are counted as all-heavy, which costs more.
    distinct = dict.fromkeys(candidate.schedule for candidate in compared)
    scheduled = [schedule for schedule in distinct if isinstance(schedule, Schedule)]
    others = len(distinct) - len(scheduled)
    return [*dict.fromkeys([all_heavy(heavy, steps), *scheduled])] + others * [
        all_heavy(heavy, steps)
    ]
