"""The document of `stepimp cascade`: thresholds, what they cost and what they are predicted to
lose, beside the best fixed schedule at equal mean cost.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from stepimp.columns import typed
from stepimp.curves.options import CurveOptions
from stepimp.errors import StepimpError
from stepimp.intervals import bootstrap, resampled_means
from stepimp.models import loading
from stepimp.models.family import family_folder
from stepimp.processes import Processes
from stepimp.progress import ProgressOption, reporter
from stepimp.results import Run, results_folder
from stepimp.rows import CascadeRow
from stepimp.sampling.cascade_prediction import HeldOutEvents, chunk_check, measure_events
from stepimp.sampling.curves import completed, curve_inputs, warn_of_times

GRID = 8  # budgets in the table beside the one asked for


@dataclass(frozen=True)
class CascadeOptions:
    """What a cascade is tuned for."""

    budget: float = 0.25
    """Share of the all-heavy FLOPs to save, by counting blocks."""
    steps: int | None = None
    """T of ancestral sampling; None: first-hitting sampling."""


def tune_cascade(
    options: CurveOptions,
    wanted: CascadeOptions,
    out,
    *,
    device: str = "auto",
    attn: str = "auto",
    progress: ProgressOption = False,
) -> dict:
    """Measures the cascade of the heavy and the light model on held-out text, and writes its
    document to the folder `out`.

    options: models, text and sequences; its points are the states of each sequence that are
    measured. progress: True for a bar, or called with the sequences measured and to measure. Raises
    StepimpError where no cascade saves the budget.
    """
    progress = reporter(progress)
    results_folder(out)
    folder, (light,) = family_folder(options.family), options.lights
    device = Processes().device(device)
    family = loading.load(options.models, folder, device, options.dtype, attn)
    share_of_light = family.blocks[light] / family.blocks[options.heavy]
    if not 0 <= wanted.budget <= 1 - share_of_light:
        raise StepimpError(
            f"A cascade saves at most {max(0.0, 1 - share_of_light):.1%} of the FLOPs, since "
            f"{light} runs in every event: a budget of {wanted.budget:.1%} cannot be met."
        )
    warn_of_times(family)
    complete = completed(options, family)
    inputs, source = Processes().one_before_others(lambda: curve_inputs(complete, family))
    params = complete.params() | {"budget": wanted.budget, "steps": wanted.steps} | family.params
    fingerprints = {"models": family.fingerprints, "data": source}
    run = Run(out, "cascade", params, fingerprints, family.any.device, options.dtype)
    events = measure_events(
        family.denoisers,
        options.heavy,
        light,
        inputs,
        wanted.steps,
        strata=options.points,
        seed=options.seed,
        batch_size=options.batch_size,
        journal=run.journal(chunk_check(options.points)),
        progress=progress,
    )
    rows = cascade_rows(events, share_of_light, wanted.budget, options.seed)
    return run.finish(rows, blocks=family.blocks)


def cascade_rows(
    events: HeldOutEvents, share_of_light: float, budget: float, seed: int
) -> list[CascadeRow]:
    """The cascade for the budget, then those for budgets from nothing to all that can be saved, and
    each model alone.

    share_of_light: cost of the light model's pass in passes of the heavy one.
    """
    most = 1 - share_of_light
    budgets = [budget, *(most * k / GRID for k in range(GRID + 1))]
    names = ["cascade", *["trade-off"] * (GRID + 1)]
    rows: list[dict[str, Any]] = []
    statistics: list[np.ndarray] = []
    for name, saving in zip(names, budgets):
        threshold = events.threshold(most - saving)
        escalated = events.entropy > threshold
        predicted = events.predicted(escalated)
        share = predicted["heavy"].sum() / events.weight.sum()
        fixed = fixed_schedule(events, (most - share) / most if most else 0.0)
        rows.append({"name": name, "threshold_nats": threshold, "escalated": float(share)})
        rows[-1]["saved_flops"] = float(most - share)
        statistics += [predicted["nelbo"], predicted["path_kl"], predicted["nelbo"] - fixed]
    all_events = np.ones(len(events.entropy), dtype=bool)
    for name, heavy, saved in (("all-heavy", all_events, 0.0), ("all-light", ~all_events, most)):
        predicted = events.predicted(heavy)
        rows.append({"name": name, "saved_flops": saved})
        statistics += [predicted["nelbo"], predicted["path_kl"], np.zeros(len(events.tokens))]
    tokens = np.maximum(events.tokens, 1)
    means = resampled_means(
        np.stack(statistics) / tokens, seed, np.tile(events.tokens, (len(statistics), 1))
    )
    typed_rows = []
    for row, (nelbo, path_kl, difference) in zip(rows, means.reshape(len(rows), 3, -1)):
        cells = row | bootstrap(nelbo).columns("nelbo_nats")
        cells |= bootstrap(path_kl).columns("path_kl_nats")
        if "threshold_nats" in row:
            cells |= bootstrap(difference).columns("nelbo_diff_nats")
        typed_rows.append(typed(CascadeRow, cells))
    return typed_rows


def fixed_schedule(events: HeldOutEvents, light_share: float) -> np.ndarray:
    """[N] sums of -log p of the best schedule that runs light in this share of the events, decided
    by the stratum alone.

    The strata of a half of the sequences are chosen by the other half.
    """
    strata = int(events.stratum.max()) + 1
    total = np.zeros(len(events.tokens))
    half = events.sequence % 2
    for side in (0, 1):
        others = half != side
        weight = np.bincount(events.stratum[others], events.weight[others], strata)
        loss = np.bincount(
            events.stratum[others],
            (events.weight * (events.ce_light - events.ce_heavy))[others],
            strata,
        )
        light = np.zeros(strata)
        left = light_share * weight.sum()
        for k in np.argsort(loss / np.maximum(weight, 1e-300), kind="stable"):
            light[k] = min(1.0, left / weight[k]) if weight[k] else 0.0
            left = max(0.0, left - weight[k])
        share = light[events.stratum]
        values = share * events.ce_light + (1 - share) * events.ce_heavy
        total += np.where(np.arange(len(total)) % 2 == side, events.sums(values), 0.0)
    return total
