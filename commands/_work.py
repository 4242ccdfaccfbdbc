"""How much work a command line is, by its sizes alone and before anything is loaded."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from stepimp.curves.options import CurveOptions
    from stepimp.estimates.work import Work

CURVES = ("loss", "kl", "cascade")  # commands that corrupt text
SAMPLING = ("generate", "compare", "search", "profile", "recommend")
FROM_CURVES = ("search", "recommend", "plan")  # commands that curves are measured for
PLANNED = tuple(dict.fromkeys(CURVES + SAMPLING + FROM_CURVES))
JUDGED = ("compare", "search")
OVER_T_NEED, MASKED_NEED = "kl", "masked"  # needs of the paper whose commands measure curves
VERIFIED = 4  # schedules that a recommendation is compared with, itself included
DEFAULT_STEPS = 1000  # T where a command does not say
BATCH = 16  # sequences per forward pass where a command has no option for it


def cores() -> int:
    """The cores this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def step_params(arguments: Sequence[str], group: click.Group) -> tuple[str, dict[str, Any]]:
    """The command of a step of `stepimp reproduce` and its options as click parses them. group:
    stepimp.
    """
    command, *options = arguments
    return command, group.commands[command].make_context(command, list(options)).params


def block_tokens(
    command: str, params: dict[str, Any], folder: Path, reads: Collection[str] | None = None
) -> float:
    """Tokens times the blocks they go through; 0 for a command that names a model which the family
    in this folder does not have, as it will fail, and for one that runs no model.

    params: its options as click has parsed them. reads: as `missing_curves` has it.
    """
    from stepimp.models.family import read_manifest

    blocks = {name: facts["blocks"] for name, facts in read_manifest(folder)["members"].items()}
    try:
        if command not in PLANNED:
            return 0.0
        first = missing_curves(command, params, folder, reads)
        return planned(command, params, folder, first).block_tokens(blocks)
    except KeyError:
        return 0.0


def needed_curves(command: str, params: dict[str, Any], folder: Path) -> "CurveOptions | None":
    """What a command measures first where the results folder has no such curves; None where it
    reads a file of them, or needs none.
    """
    from stepimp.curves.options import default_options
    from stepimp.models.options import ModelOptions

    policies = command == "compare" and params.get("policies")
    if command not in FROM_CURVES and not policies or params.get("curves"):
        return None
    params = params | default_models(params, folder)
    models = ModelOptions(family=params.get("family"), dtype=params.get("dtype", "float32"))
    lights = params["lights"] if "lights" in params else (params["light"],)
    by_masked = policies or command == "plan" or params.get("over") == "masked"
    return default_options(params["heavy"], lights, models, bool(by_masked))


def has_curves(params: dict[str, Any], needed: "CurveOptions") -> bool:
    """Whether the results folder has the curves that a command needs."""
    from stepimp.curves.document import newest_curves

    by, heavy, lights = "nelbo" if needed.by_masked else "kl", needed.heavy, needed.lights
    if "by" in params:  # of a command that takes curves of any models where it names none
        by, heavy, lights = params["by"], params["heavy"], params["lights"]
    out, family, by_masked = params["out"], needed.family, needed.by_masked
    return bool(newest_curves(out, by, heavy, lights, family, by_masked))


def missing_curves(
    command: str, params: dict[str, Any], folder: Path, reads: Collection[str] | None = None
) -> "CurveOptions | None":
    """The curves that a command would measure before all else.

    reads: for a step of `stepimp reproduce`, the needs whose documents other steps make before it;
    None for a command on its own, which reads what is in the results folder.
    """
    needed = needed_curves(command, params, folder)
    if needed is None:
        return None
    if reads is None:
        return None if has_curves(params, needed) else needed
    return None if (MASKED_NEED if needed.by_masked else OVER_T_NEED) in reads else needed


def planned(
    command: str, params: dict[str, Any], folder: Path, first: "CurveOptions | None" = None
) -> "Work":
    """What a command of PLANNED runs.

    params: its options as click has parsed them. first: the curves that it measures before.
    Raises StepimpError for sizes that do not go together.
    """
    from stepimp.paper.recipes import members_of

    params = params | default_models(params, folder)
    length = params.get("length") or members_of(folder).length
    work = requested(command, params, length)
    if first:
        work.add(curves_of(vars(first), members_of(folder).length))
    return work


def curves_of(params: dict[str, Any], length: int) -> "Work":
    """The work of curves. params: those of `CurveOptions`."""
    from stepimp.estimates.work import curves_work, sampling_work

    batch_size, sequences = params.get("batch_size", BATCH), params["sequences"]
    models = [params["heavy"], *params["lights"], *filter(None, [params["baseline"]])]
    work = curves_work(models, sequences, params["repeats"], params["points"], length, batch_size)
    if params["inputs"] == "samples":
        plans = [all_heavy(params["heavy"], DEFAULT_STEPS)]
        together = 2 * batch_size
        work.add(sampling_work(plans, sequences, length, length, batch_size, together))
    return work


def requested(command: str, params: dict[str, Any], length: int) -> "Work":
    """What a command runs beside curves that it needs."""
    from stepimp.curves.options import CurveOptions
    from stepimp.estimates.work import Work, sampling_work, search_work

    if command == "cascade" and "lights" not in params:  # as the command line has them
        params = params | {"lights": (params["light"],), "baseline": None}
        params |= {"repeats": CurveOptions.repeats, "inputs": CurveOptions.inputs}
    batch_size: int = params.get("batch_size", BATCH)
    samples: int = params.get("samples", 0)
    if command in CURVES:
        return curves_of(params, length)
    if command == "plan" or (command == "recommend" and not params.get("verify", True)):
        return Work(length, CurveOptions.batch_size)
    if command == "search":
        from stepimp.search.coarse import Coarse

        names = ("heavy", "light", "steps", "segments", "light_segments")
        coarse = Coarse(*(params[name] for name in names))
        coarse.check()
        return search_work(coarse, samples, length, batch_size, params["chunk"])
    plans = schedules(command, params)
    given = min(params.get("prefix_length", 0), length)  # a longer one will be refused
    together = 2 * batch_size if command == "generate" else batch_size
    drawn = sampling_work(
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
    from stepimp.quality.candidates import given_candidates, papers_seven, sandwiches
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
    compared = given_candidates(steps, params["schedules"], fractions, heavy, lights)
    if not compared:
        compared = [each for light in lights for each in papers_seven(steps, heavy, light)]
    # Others, over masked positions or of a plan, are counted as all-heavy, which costs more.
    distinct = dict.fromkeys(candidate.schedule for candidate in compared)
    scheduled = [schedule for schedule in distinct if isinstance(schedule, Schedule)]
    others = len(distinct) - len(scheduled)
    return [*dict.fromkeys([all_heavy(heavy, steps), *scheduled])] + others * [
        all_heavy(heavy, steps)
    ]
