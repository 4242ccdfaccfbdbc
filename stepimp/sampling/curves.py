"""The curves document: one measurement behind `stepimp loss` and `stepimp kl`.

It is made here and not in `stepimp.curves` because its inputs may be samples of the heavy model.
"""

import logging
from collections.abc import Callable, Iterable

from stepimp.curves.document import newest_curves
from stepimp.curves.inputs import Inputs, text_inputs
from stepimp.curves.masked_counts import RankedInputs
from stepimp.curves.measure import chunk_check, measure, time_grid
from stepimp.curves.options import (
    MOST_SAMPLES,
    CompleteOptions,
    CurveOptions,
    default_options,
)
from stepimp.curves.tables import curve_rows, nelbo_rows
from stepimp.errors import StepimpError
from stepimp.models import loading
from stepimp.models.family import chosen_text, corpus, family_folder, recorded
from stepimp.models.loading import Family
from stepimp.models.options import ModelOptions
from stepimp.processes import Processes
from stepimp.progress import ProgressOption, reporter
from stepimp.results import Run, results_folder
from stepimp.sampling.trajectories import SampleInputs

log = logging.getLogger(__name__)


def measure_curves(
    options: CurveOptions,
    out,
    *,
    device: str = "auto",
    attn: str = "auto",
    progress: ProgressOption = False,
) -> dict:
    """The curves document of these options, measured unless it is in the folder `out` already.

    A document of another version of stepimp, or of other weights or text, is not reused. Raises
    StepimpError for models that do not go together, or sequences longer than they take.
    """
    progress = reporter(progress)
    results_folder(out)
    processes, folder = Processes(), family_folder(options.family)
    device = processes.device(device)
    family = loading.load(options.models, folder, device, options.dtype, attn)
    warn_of_times(family)
    if options.by_masked:
        warn_of_clocks(family)
    complete = completed(options, family)
    inputs, source = processes.one_before_others(lambda: curve_inputs(complete, family))
    fingerprints = {"models": family.fingerprints, "data": source}
    params = complete.params() | family.params
    run = Run(out, "curves", params, fingerprints, family.any.device, options.dtype)
    if document := run.finished():
        return document
    times = time_grid(options.points)
    if isinstance(inputs, RankedInputs):
        times = inputs.counts(options.points) / inputs.maskable
    measurements = measure(
        family.denoisers,
        options.heavy,
        options.lights,
        options.baseline,
        inputs,
        times,
        options.seed,
        batch_size=options.batch_size,
        journal=run.journal(check=chunk_check(list(options.models), times)),
        until=options.until,
        progress=progress,
    )
    if isinstance(inputs, RankedInputs):
        measurements = inputs.exact(measurements)
    return run.finish(
        curve_rows(measurements, options.seed),
        nelbo=nelbo_rows(measurements, family.blocks, options.seed),
        blocks=family.blocks,
        measurements=measurements.pack(),
    )


def curves_for(
    by: str,
    heavy: str | None,
    lights: Iterable[str],
    models: ModelOptions,
    measure: Callable[[CurveOptions], dict] | None = None,
    by_masked: bool = False,
    weights: dict[str, str] | None = None,
) -> dict:
    """The newest matching curves in the results folder, measured now if there are none.

    by: "kl", "loss" or "nelbo", what the curves are for. heavy, lights: None and empty for any.
    by_masked: curves over n, the exact number of masked positions, instead of over t.
    measure: gives the curves document of options; by default `measure_curves`. weights: model ->
    fingerprint of the weights they must have, where they are loaded.
    """
    document = Processes().from_first(
        lambda: newest_curves(models.out, by, heavy, lights, models.family, by_masked, weights)
    )
    if document:
        return document
    options = default_options(heavy, lights, models, by_masked)
    if measure:
        return measure(options)
    return measure_curves(options, models.out, device=models.device, attn=models.attn)


def warn_of_times(family: Family):
    """Logs a warning for the models that never saw as many masks in training as the later times
    have, a line per share of masked tokens.
    """
    names_by_share: dict[float, list[str]] = {}
    for name, model in family.denoisers.items():
        names_by_share.setdefault(model.trained_masking, []).append(name)
    for share, names in names_by_share.items():
        if share < 1:
            log.warning(
                f"Warning: {', '.join(names)} saw at most {share:.0%} of the tokens masked in "
                f"training: what the curves have at t above {share:g} is outside of it."
            )


def warn_of_clocks(family: Family):
    """Logs that models with a time input are given one time for each number of masked positions."""
    names = [name for name, model in family.denoisers.items() if model.time_conditioned]
    if names:
        log.warning(
            f"Warning: {', '.join(names)} also take the time: with n of P positions masked they "
            "are given t = n/P. Sampling at other times is not what these curves predict."
        )


def completed(options: CurveOptions, family: Family) -> CompleteOptions:
    """The options with what the family decides: the length, the text and its column, the family's
    name.

    Options without effect get their defaults and the lights their order, shallowest first, so that
    measurements that are the same have the same name.
    """
    if options.length and options.length > family.length:
        raise StepimpError(
            f"A length of {options.length} is over the models' maximum of {family.length}: choose "
            "a smaller one."
        )
    folder = family_folder(options.family)
    data, column = chosen_text(options.data, options.column, folder)
    decided = {
        "lights": tuple(sorted(options.lights, key=lambda name: (family.blocks[name], name))),
        "length": options.length or family.length,
        "data": data,
        "column": column,
        "family": recorded(options.family),
    }
    if options.until is not None:
        decided["sequences"] = CurveOptions.sequences
    if options.inputs == "samples":
        decided |= {"data": corpus(folder), "column": "text", "split": CurveOptions.split}
    return CompleteOptions(**vars(options) | decided)


def curve_inputs(options: CompleteOptions, family: Family) -> tuple[Inputs, str]:
    """The sequences to corrupt, and a fingerprint of where they come from."""
    heavy = family.denoisers[options.heavy]
    inputs: Inputs
    if options.inputs == "text":
        inputs, source = text_inputs(options, family.tokenizer, heavy)
    else:
        count = options.sequences if options.until is None else MOST_SAMPLES
        inputs = SampleInputs(family.denoisers, options.heavy, count, options.length, options.seed)
        source = f"samples of {family.fingerprints[options.heavy]}"
    if options.by_masked:
        inputs = RankedInputs(inputs, options.length - sum(map(len, heavy.frame)))
    return inputs, source
