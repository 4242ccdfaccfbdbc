"""The document and the texts of `stepimp generate`."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from stepimp.columns import typed
from stepimp.curves.document import weights_of
from stepimp.documents import command_of, newest
from stepimp.errors import StepimpError
from stepimp.models.family import chosen_members, family_folder, recorded, replaced
from stepimp.models.loading import Family, load
from stepimp.models.options import ModelOptions
from stepimp.processes import Processes
from stepimp.results import Run, results_folder, write_atomically
from stepimp.rows import GenerateRow
from stepimp.sampling.generate import generate, tokens_check
from stepimp.schedules.schedule import Schedule, parse

Progress = Callable[[int, int], None]
Watch = Callable[[int, str, list[int]], None]


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(ModelOptions):
    """What `generate_texts` generates."""

    schedule: str | None = None
    """Notation of the schedule; None: that of the family's newest recommendation, with its
    models.
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
    options, advice = with_schedule(options, recommend)
    assert options.schedule is not None
    schedule = parse(options.schedule, options.heavy, options.light, options.steps)
    folder = family_folder(options.family)
    processes = Processes()
    device = processes.device(options.device)
    family = load(schedule.models, folder, device, options.dtype, options.attn)
    if advice:
        expect_weights(advice, family.fingerprints, options.out)
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
    first = processes.rank == 0
    view = watching(family, schedule) if watching and first else nullcontext()
    with progress() as moved, view as watch:
        started = time.perf_counter()
        texts, counts = generate(
            family,
            schedule,
            options.samples,
            length,
            seed=options.seed,
            journal=run.journal(check=tokens_check(length, family.any.vocab_size)),
            prefix=options.prefix,
            precision=options.precision,
            batch_size=options.batch_size,
            watch=watch,
            progress=moved or (lambda done, total: None),
        )
        seconds = time.perf_counter() - started
    lines = run.path.with_suffix(".jsonl")
    if first:
        content = (json.dumps(text, ensure_ascii=False) + "\n" for text in texts)
        write_atomically(lines, "".join(content))
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
) -> tuple[GenerateOptions, dict | None]:
    """The options with a schedule and the models of its letters, and the recommendation that they
    come from, if any.

    A model stays None where neither the options nor the family name it: a schedule may name its
    models itself, and one with letters is refused when it is parsed.
    """
    if options.schedule is None:
        advice = Processes().from_first(lambda: newest_recommendation(options)) or recommend()
        params = advice["params"]
        recommended = replace(
            options,
            schedule=advice["rows"][0]["schedule"],
            heavy=params["heavy"],
            light=min(params["lights"], key=advice["blocks"].get),
            family=params["family"],
        )
        return recommended, advice
    lights = (options.light,) if options.light else ()
    try:
        heavy, (light,) = chosen_members(options.heavy, lights, family_folder(options.family))
    except StepimpError:
        return options, None
    return replace(options, heavy=heavy, light=light), None


def newest_recommendation(options: GenerateOptions) -> dict | None:
    """The newest recommendation for the family in the results folder, or None.

    One that was made because there was none, and for other weights than the family has now, is
    made anew. Raises StepimpError for one that a user asked for.
    """
    family, folder = recorded(options.family), family_folder(options.family)

    def fits(document: dict) -> bool:
        if document["params"]["family"] != family:
            return False
        outdated = replaced(weights_of(document), folder)
        return not outdated or asked_for(document)

    document = newest(options.out, "recommend", fits)
    if document and (outdated := replaced(weights_of(document), folder)):
        raise StepimpError(other_weights(document, outdated))
    return document


def asked_for(document: dict) -> bool:
    """Whether a recommendation was made by the command for it."""
    return command_of(document)[1:2] != ["generate"]


def expect_weights(advice: dict, fingerprints: dict[str, str], out: str) -> None:
    """Raises StepimpError for models with other weights than those of a recommendation.

    fingerprints: model -> fingerprint of the weights that are loaded.
    """
    expected = weights_of(advice)
    if other := [name for name, now in fingerprints.items() if expected.get(name, now) != now]:
        # No manifest says so, or `newest_recommendation` had found it; its curves are as old.
        curves = Path(out).expanduser() / advice["params"].get("curves", "")
        first = f"move {curves} away and " if curves.is_file() else ""
        raise StepimpError(other_weights(advice, other, first))


def other_weights(advice: dict, models: list[str], first: str = "") -> str:
    """What to say of a recommendation that was made for other weights of these models."""
    line = advice["provenance"].get("command_line", "stepimp recommend")
    return (
        f"{advice['path']}, the newest recommendation, was made for other weights of "
        f"{', '.join(models)} than there are now: {first}run {line}"
    )
