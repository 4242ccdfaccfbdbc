"""How much work the commands of `stepimp reproduce` are expected to be, by their sizes alone."""

from pathlib import Path

import click

DEFAULT_STEPS = 1000  # T where a command does not say


def work(arguments: list[str], folder: Path, group: click.Group) -> float:
    """Tokens times the blocks they go through; 0 for a command that names a model which the family
    in this folder does not have, as it will fail.

    arguments: of stepimp; group: stepimp, which parses them.
    """
    from stepimp.curves.options import CurveOptions
    from stepimp.models.family import read_manifest
    from stepimp.paper.needs import members_of

    blocks = {name: facts["blocks"] for name, facts in read_manifest(folder)["members"].items()}
    command, *options = arguments
    params = group.commands[command].make_context(command, options).params
    length = params.get("length") or members_of(folder).length
    if command == "plan" or params.get("over") == "masked":  # unless their curves are there
        models = {params["heavy"], *params["lights"]}
        inputs = CurveOptions.sequences * CurveOptions.points
        return length * inputs * sum(blocks[model] for model in models)
    if command == "recommend":  # reads curves, runs no model
        return 0.0
    try:
        return work_of(command, params, folder, blocks, length)
    except KeyError:
        return 0.0


def work_of(command: str, params: dict, folder: Path, cost: dict, length: int) -> float:
    """Tokens times what a forward pass of each costs.

    params: of the command; cost: {model: of one token}; length: tokens per sequence.
    """
    params = params | default_models(params, folder)
    if command in ("generate", "recommend"):
        params["steps"] = params["steps"] or DEFAULT_STEPS
    if command in ("loss", "kl"):
        models = {params["heavy"], *params["lights"], params["baseline"]} - {None}
        inputs = params["sequences"] * params["repeats"] * params["points"]
        work = length * inputs * sum(cost[model] for model in models)
        if params["inputs"] == "samples":
            from stepimp.sampling.cost import expected_forwards

            forwards = expected_forwards(length, DEFAULT_STEPS)
            work += length * params["sequences"] * forwards * cost[params["heavy"]]
        return work
    return length * params["samples"] * passes(command, params, cost, length)


def default_models(params: dict, folder: Path) -> dict:
    """The family's deepest and shallowest model, where a command line names none."""
    from stepimp.models.family import default_members

    if all(params.get(name, True) for name in ("heavy", "light", "lights")):
        return {}
    heavy, light = default_members(folder)
    defaults = {"heavy": heavy, "light": light, "lights": (light,)}
    return {name: model for name, model in defaults.items() if name in params and not params[name]}


def passes(command: str, params: dict, cost: dict, length: int) -> float:
    """Cost of one sample's token with each schedule of a command."""
    from stepimp.sampling.cost import expected_forwards
    from stepimp.schedules.schedule import saved_flops

    heavy, steps = params["heavy"], params["steps"]
    forwards = expected_forwards(length - params.get("prefix_length", 0), steps)
    if params.get("precision") == "mdlm":
        forwards = steps
    return forwards * sum(
        cost[heavy] * (1 - saved_flops(schedule, cost, heavy))
        for schedule in schedules(command, params)
    )


def schedules(command: str, params: dict) -> list:
    """The schedules a command samples with, as often as it does; without a recommendation, which
    is not known yet.
    """
    from stepimp.quality.candidates import given, papers_seven, sandwiches
    from stepimp.schedules.schedule import Schedule, parse
    from stepimp.search.coarse import Coarse, segment_runs

    heavy, steps = params["heavy"], params["steps"]
    all_heavy = Schedule.of([heavy] * steps)
    if command == "generate":
        given_one = params["schedule"]
        return [parse(given_one, heavy, params["light"])] if given_one else [all_heavy]
    if command == "recommend":  # verifies four schedules, none costlier than this one
        return 4 * [all_heavy]
    if command == "search":
        coarse = Coarse(heavy, params["light"], steps, params["segments"], params["light_segments"])
        names = coarse.names()
        return [coarse.schedule(names[0])] * round(segment_runs(names) / coarse.segments)
    if command == "profile":
        parts = params["points"] - 1
        swept = sandwiches(steps, [k / parts for k in range(parts + 1)], heavy, params["light"])
        return params["repeats"] * [all_heavy, *(candidate.schedule for candidate in swept)]
    lights, fractions = params["lights"], params["fractions"] or ()
    compared = given(steps, params["schedules"], fractions, heavy, lights)
    if not compared:
        compared = [each for light in lights for each in papers_seven(steps, heavy, light)]
    return list({all_heavy} | {candidate.schedule for candidate in compared})
