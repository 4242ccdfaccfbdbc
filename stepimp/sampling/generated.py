"""The document and the texts of `stepimp generate`."""

import json
import time

from stepimp.columns import typed
from stepimp.errors import StepimpError
from stepimp.models.family import recorded
from stepimp.models.loading import Family
from stepimp.results import Run, write_atomically
from stepimp.rows import GenerateRow
from stepimp.sampling.generate import generate
from stepimp.schedules.schedule import Schedule


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


def generate_document(
    members: Family,
    schedule: Schedule,
    out,
    *,
    heavy: str | None,
    light: str | None,
    samples: int,
    length: int | None,
    prefix: str,
    precision: str,
    seed: int,
    dtype: str,
    family: str | None,
    batch_size: int,
    watch=None,
    progress=lambda done, total: None,
) -> tuple[dict, list[dict]]:
    """Draws the texts, writes them to `out` as JSON Lines and a document beside them.

    heavy, light: the models H and L of the notation; length: None for the models' maximum; family:
    as it was asked for; the other options are those of `generate`. Returns the document and the
    texts.
    """
    length = length or min(model.max_length for model in members.denoisers.values())
    params = dict(
        schedule=schedule.format(heavy, light),
        heavy=heavy,
        light=light,
        samples=samples,
        length=length,
        prefix=prefix,
        precision=precision,
        seed=seed,
        dtype=dtype,
        family=recorded(family),
    )
    run = Run(out, "generate", params, {"models": members.fingerprints}, members.any.device, dtype)
    started = time.perf_counter()
    texts, counts = generate(
        members,
        schedule,
        samples,
        length,
        seed=seed,
        journal=run.journal(),
        prefix=prefix,
        precision=precision,
        batch_size=batch_size,
        watch=watch,
        progress=progress,
    )
    seconds = time.perf_counter() - started
    lines = run.path.with_suffix(".jsonl")
    write_atomically(lines, "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts))
    row = {
        "schedule": params["schedule"],
        "samples": samples,
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
