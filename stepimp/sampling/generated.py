"""The document and the texts of `stepimp generate`."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from stepimp.columns import typed
from stepimp.errors import StepimpError
from stepimp.models.family import chosen_members, family_folder, recorded
from stepimp.models.loading import Family, load
from stepimp.models.options import ModelOptions
from stepimp.results import Run, newest, results_folder, write_atomically
from stepimp.rows import GenerateRow
from stepimp.sampling.generate import generate
from stepimp.schedules.schedule import Schedule, parse

Progress = Callable[[int, int], None]
Watch = Callable[[int, str, list[int]], None]


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(ModelOptions):
    """What `generate_texts` generates."""

    schedule: str | None = None
    """Notation of the schedule; None: that of the family's newest recommendation for the models and
    T below, with its models.
    """
    heavy: str | None = None
    """Model H of the notation; None: the family's deepest member."""
    light: str | None = None
    """Model L of the notation; None: the family's shallowest member."""
    steps: int | None = None
    """T that the schedule must have; None: any."""
    samples: int = 4
    """Number of texts."""
    length: int | None = None
    """Tokens per text, prefix included; None: the models' maximum."""
    prefix: str = ""
    """Text that each sample starts with."""
    batch_size: int = 16
    """Sequences per forward pass."""
    precision: str = "exact"
    """"exact", or "mdlm" for the MDLM repository's sampler."""


def generate_texts(
    options: GenerateOptions,
    recommend: Callable[[], dict],
    *,
    watching: Callable[[Family, Schedule], AbstractContextManager[Watch | None]] | None = None,
    progress: Callable[[], AbstractContextManager[Progress | None]] = nullcontext,
) -> tuple[dict, list[dict]]:
    """The results document of `stepimp generate` and its texts, written to the results folder as
    JSON Lines beside the document.

    recommend: makes a recommendation document, called if a schedule is wanted and there is none.
    watching: a context manager that gives the function `watch` of `generate`. progress: a context
    manager that gives the function to call with the tokens drawn and to draw. Raises StepimpError
    for schedules, models, lengths and prefixes that cannot be used.
    """
    results_folder(options.out)
    options, expected = with_schedule(options, recommend)
    assert options.schedule is not None
    schedule = parse(options.schedule, options.heavy, options.light, options.steps)
    folder = family_folder(options.family)
    family = load(schedule.models, folder, options.device, options.dtype, options.attn)
    expect_weights(family, expected)
    length = options.length or family.length
    params = dict(
        schedule=schedule.format(options.heavy, options.light),
        heavy=options.heavy,
        light=options.light,
        samples=options.samples,
        length=length,
        prefix=options.prefix,
        precision=options.precision,
        seed=options.seed,
        dtype=options.dtype,
        family=recorded(options.family),
    )
    fingerprints = {"models": family.fingerprints}
    run = Run(options.out, "generate", params, fingerprints, family.any.device, options.dtype)
    view = watching(family, schedule) if watching else nullcontext()
    with progress() as moved, view as watch:
        started = time.perf_counter()
        texts, counts = generate(
            family,
            schedule,
            options.samples,
            length,
            seed=options.seed,
            journal=run.journal(),
            prefix=options.prefix,
            precision=options.precision,
            batch_size=options.batch_size,
            watch=watch,
            progress=moved or (lambda done, total: None),
        )
        seconds = time.perf_counter() - started
    lines = run.path.with_suffix(".jsonl")
    write_atomically(lines, "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts))
    row = {
        "schedule": params["schedule"],
        "samples": options.samples,
        "length": length,
        "samples_file": lines.name,
    }
    cost = {
        "tokens": counts.tokens.total(),
        "forwards": counts.forwards.total(),
        "batches": counts.batches,
        "seconds": seconds,
    }
    return run.finish([typed(GenerateRow, row)], cost=cost), texts


def with_schedule(
    options: GenerateOptions, recommend: Callable[[], dict]
) -> tuple[GenerateOptions, dict[str, str]]:
    """The options with a schedule and the models of its letters, and model -> fingerprint of the
    weights that a recommendation was made for.

    A model stays None where neither the options nor the family name it: a schedule may name its
    models itself, and one with letters is refused when it is parsed.
    """
    if options.schedule is None:
        advice = newest_recommendation(options) or recommend()
        params = advice["params"]
        recommended = replace(
            options,
            schedule=advice["rows"][0]["schedule"],
            heavy=params["heavy"],
            light=min(params["lights"], key=advice["blocks"].get),
            family=params["family"],
        )
        return recommended, advice["provenance"]["fingerprints"]["models"]
    lights = (options.light,) if options.light else ()
    try:
        heavy, (light,) = chosen_members(options.heavy, lights, family_folder(options.family))
    except StepimpError:
        return options, {}
    return replace(options, heavy=heavy, light=light), {}


def newest_recommendation(options: GenerateOptions) -> dict | None:
    """The newest recommendation in the results folder for the family, and for the models and T that
    the options name; None if there is none.
    """
    family = recorded(options.family)

    def fits(document: dict) -> bool:
        params = document["params"]
        return (
            params["family"] == family
            and options.steps in (None, params["steps"])
            and options.heavy in (None, params["heavy"])
            and (options.light is None or params["lights"] == [options.light])
        )

    return newest(options.out, "recommend", fits)


def expect_weights(members: Family, expected: dict[str, str]) -> None:
    """Raises StepimpError for models with other weights than those of a recommendation.

    expected: model -> fingerprint.
    """
    for name, weights in members.fingerprints.items():
        if expected.get(name, weights) != weights:
            raise StepimpError(
                f"The newest recommendation was made for other weights of {name}: run stepimp "
                "recommend again."
            )
