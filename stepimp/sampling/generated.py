"""The document and the texts of `stepimp generate`."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from stepimp.columns import typed
from stepimp.curves.document import weights_of
from stepimp.documents import command_of, newest
from stepimp.errors import StepimpError
from stepimp.models.family import chosen_members, family_folder, recorded, replaced
from stepimp.models.loading import Family, load
from stepimp.processes import Processes
from stepimp.progress import ProgressOption, reporter
from stepimp.results import Run, results_folder, write_atomically
from stepimp.rows import GenerateRow
from stepimp.sampling import prompts
from stepimp.sampling.chosen import GenerateOptions, chosen_prompts, policy_of, written
from stepimp.sampling.cost import exact_flops
from stepimp.sampling.generate import Watch, generate, tokens_check
from stepimp.sampling.policies import Policy
from stepimp.sampling.state import Counts

__all__ = ["GenerateOptions", "generate_texts"]

ANOTHER_LAW = "another law than the model's own: no NELBO and no path KL"


def generate_texts(
    options: GenerateOptions,
    recommend: Callable[[], dict],
    *,
    watching: Callable[[Family], AbstractContextManager[Watch | None]] | None = None,
    progress: ProgressOption = False,
) -> tuple[dict, list[dict]]:
    """The results document of `stepimp generate` and its texts, written to the results folder as
    JSON Lines beside the document.

    recommend: makes a recommendation document, called if a schedule is wanted and there is none.
    watching: a context manager that gives the function `watch` of `generate`. progress: True for a
    bar, or called with the tokens drawn and to draw. Raises StepimpError for schedules, models,
    lengths and prefixes that cannot be used.
    """
    progress = reporter(progress)
    results_folder(options.out)
    options, advice = with_schedule(options, recommend)
    policy = policy_of(options)
    folder = family_folder(options.family)
    processes = Processes()
    device = processes.device(options.device)
    family = load(policy.schedule.models, folder, device, options.dtype, options.attn)
    if advice:
        expect_weights(advice, family.fingerprints, options.out)
    given = processes.from_first(lambda: chosen_prompts(options, family))
    tokens = [prompts.tokens_of(prompt, family, options.length) for prompt in given]
    fingerprints: dict = {"models": family.fingerprints}
    if options.prompt is not None:
        fingerprints["prompts"] = prompts.fingerprint(given)
    params = recorded_params(options, policy, family)
    lengths = [len(prompt) + family.around for prompt in tokens for _ in range(options.samples)]
    run = Run(options.out, "generate", params, fingerprints, family.any.device, options.dtype)
    first = processes.rank == 0
    view = watching(family) if watching and first else nullcontext()
    with view as watch:
        started = time.perf_counter()
        texts, counts = generate(
            family,
            policy,
            tokens,
            options.samples,
            seed=options.seed,
            journal=run.journal(tokens_check(lengths, family.any.vocab_size)),
            precision=options.precision,
            batch_size=options.batch_size,
            watch=watch,
            progress=progress,
        )
        seconds = time.perf_counter() - started
    if options.prompt is not None:
        texts = [{**text, "prefix": given[text.get("prompt", 0)].prefix} for text in texts]
    lines = run.path.with_suffix(".jsonl")
    if first:
        content = (json.dumps(text, ensure_ascii=False) + "\n" for text in texts)
        write_atomically(lines, "".join(content))
    row = {
        "schedule": params["schedule"],
        "samples": len(texts),
        "length": max(len(text["tokens"]) for text in texts),
        "samples_file": lines.name,
    }
    if not policy.exact:
        row["law"] = ANOTHER_LAW
    costs = cost(family, counts, row["length"], seconds)
    return run.finish([typed(GenerateRow, row)], cost=costs), texts


def recorded_params(options: GenerateOptions, policy: Policy, family: Family) -> dict:
    """What the samples depend on; options that are left out change nothing about it."""
    params = dict(
        schedule=written(policy, options.heavy, options.light),
        heavy=options.heavy,
        light=options.light,
        samples=options.samples,
        length=options.length or family.length,
        prefix=options.prefix,
        precision=options.precision,
        seed=options.seed,
        dtype=options.dtype,
        family=recorded(options.family),
        **family.params,
    )
    optional = {
        "sampler": "first-hitting" if policy.first_hitting else None,
        "steps": policy.steps,
        "order": policy.order and policy.order.format(),
        "temperature": None if options.temperature == 1 else options.temperature,
        "top_p": None if options.top_p == 1 else options.top_p,
        "suffix": options.suffix or None,
        "infill": options.infill,
    }
    return params | {name: value for name, value in optional.items() if value is not None}


def cost(family: Family, counts: Counts, length: int, seconds: float) -> dict:
    """What sampling cost in this run, of which a resumed one drew the rest only."""
    return {
        "tokens": counts.tokens.total(),
        "forwards": counts.forwards.total(),
        "batches": counts.batches,
        "seconds": seconds,
        "flops": exact_flops(family.denoisers, counts, length),
        "forwards_of": dict(counts.forwards),
        "sequential_of": dict(counts.sequential),
    }


def with_schedule(
    options: GenerateOptions, recommend: Callable[[], dict]
) -> tuple[GenerateOptions, dict | None]:
    """The options with a schedule and the models of its letters, and the recommendation that they
    come from, if any.

    A model stays None where neither the options nor the family name it: a schedule may name its
    models itself, and one with letters is refused when it is parsed.
    """
    if options.schedule is None and not options.dynamic:
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
    tuned = None
    if options.cascade == "auto":
        tuned = Processes().from_first(lambda: newest_cascade(options))
        params = tuned["params"]
        threshold = repr(tuned["rows"][0]["threshold_nats"])
        light = params["lights"][0]
        first_hitting = options.sampler == "first-hitting"
        steps = None if first_hitting else options.steps or params["steps"]
        options = replace(
            options, cascade=threshold, heavy=params["heavy"], light=light, steps=steps
        )
    lights = (options.light,) if options.light else ()
    try:
        heavy, (light,) = chosen_members(options.heavy, lights, family_folder(options.family))
    except StepimpError:
        if options.dynamic:
            raise
        return options, None
    return replace(options, heavy=heavy, light=light), tuned


def newest_cascade(options: GenerateOptions) -> dict:
    """The newest cascade document for the family and the models named. Raises StepimpError where
    there is none.
    """
    family = recorded(options.family)

    def fits(document: dict) -> bool:
        params = document["params"]
        return (
            params["family"] == family
            and options.heavy in (None, params["heavy"])
            and options.light in (None, *params["lights"])
        )

    document = newest(options.out, "cascade", fits)
    if document is None:
        raise StepimpError(
            f"{options.out} holds no cascade of this family and these models: run stepimp cascade "
            "first, or give a threshold."
        )
    return document


def newest_recommendation(options: GenerateOptions) -> dict | None:
    """The newest recommendation in the results folder for the family, and for the models and T that
    the options name; None if there is none.

    One that was made because there was none, and for other weights than the family has now, is
    made anew. Raises StepimpError for one that a user asked for.
    """
    family, folder = recorded(options.family), family_folder(options.family)

    def fits(document: dict) -> bool:
        params = document["params"]
        matches = (
            params["family"] == family
            and options.steps in (None, params["steps"] or options.steps)
            and options.heavy in (None, params["heavy"])
            and (options.light is None or params["lights"] == [options.light])
        )
        return matches and (asked_for(document) or not replaced(weights_of(document), folder))

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
    kind = "cascade" if advice.get("command") == "cascade" else "recommendation"
    line = advice["provenance"].get("command_line", "stepimp recommend")
    return (
        f"{advice['path']}, the newest {kind}, was made for other weights of "
        f"{', '.join(models)} than there are now: {first}run {line}"
    )
