"""The front door for notebooks and scripts: `load`, `curves`, `recommend` and `sample`.

They compute what the commands of the same purpose compute, with the same options and defaults, and
write the same results documents: curves that a command has measured are not measured again. As for
the commands, the family is by default that of the environment variable STEPIMP_FAMILY, else the
bundled one, and the results folder that of STEPIMP_RESULTS, else `results`.

Files and folders may be strings or paths, numbers NumPy's or Python's, dtypes and devices torch's
or their names. A value that cannot be used raises StepimpError; an option that does not exist
raises TypeError.
"""

import inspect
import logging
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from stepimp.api_results import Curves, Recommendation, Texts
from stepimp.checks import shortened
from stepimp.curves.document import read_curves, remarks
from stepimp.curves.options import CurveOptions
from stepimp.errors import StepimpError
from stepimp.models import loading
from stepimp.models.family import chosen_members, family_folder, members
from stepimp.models.loading import Family
from stepimp.models.options import ModelOptions, checked, plain, settled
from stepimp.progress import ProgressOption
from stepimp.quality.recommendation import recommendation
from stepimp.sampling.chosen import GenerateOptions
from stepimp.sampling.curves import curves_for, measure_curves
from stepimp.sampling.generated import generate_texts
from stepimp.schedules.saved import AnySchedule
from stepimp.wording import nearest

if TYPE_CHECKING:
    import torch

__all__ = ["Curves", "Recommendation", "Texts", "curves", "load", "recommend", "sample"]

AnyPath = str | os.PathLike
log = logging.getLogger(__name__)


def name_of(model: AnyPath) -> str:
    """The name of one model. Raises StepimpError for what names none."""
    if isinstance(model, AnyPath):
        return os.fspath(model)
    in_memory = " What is in memory, stepimp.curves.measure measures." if callable(model) else ""
    raise StepimpError(
        f"{shortened(model)} does not name a model: give the name of a member of the family, a "
        f"checkpoint folder or a hub id.{in_memory}"
    )


def names_of(models: AnyPath | Iterable[AnyPath]) -> tuple[str, ...]:
    """The names of models; one name stands for itself, not for its letters."""
    if isinstance(models, AnyPath) or not isinstance(models, Iterable):
        return (name_of(models),)
    return tuple(map(name_of, models))


def options_of_run(family: AnyPath | None, out: AnyPath | None = None, **options) -> ModelOptions:
    """Where to run, by default in the family and the folder of the environment variables.

    Raises StepimpError for a family that is asked for and does not exist.
    """
    run = ModelOptions(
        family=plain(family) or os.environ.get("STEPIMP_FAMILY"),
        out=plain(out) or os.environ.get("STEPIMP_RESULTS") or ModelOptions.out,
        **options,
    )
    if family:
        members(family_folder(run.family))
    return run


def check_names(function: Callable, target: Callable, options: dict[str, Any]):
    """Raises TypeError for an option that neither the function has nor the target, which takes the
    options that the function only hands on.
    """
    names = [*inspect.signature(function).parameters, *inspect.signature(target).parameters]
    for name in options:
        if name not in names:
            raise TypeError(
                f"stepimp.{function.__name__}() has no option {name!r}.{nearest(name, names)}"
            )


def load(
    models: AnyPath | Iterable[AnyPath] = (),
    family: AnyPath | None = None,
    *,
    device: "str | torch.device" = "auto",
    dtype: "str | torch.dtype" = "float32",
    attn: str = "auto",
) -> Family:
    """Denoisers that can run together, and their tokenizer.

    models: members of the family, checkpoint folders or hub ids; by default all members. family:
    folder of a family or name of a bundled one. device: auto, cpu, cuda or cuda:N; auto is CUDA
    where there is a device. dtype: of the models' bodies: float32, bfloat16, float16 or float64.
    attn: implementation of attention, as transformers names them. Raises StepimpError for models
    that cannot be loaded or do not go together.
    """
    run = options_of_run(family, device=device, dtype=dtype, attn=attn)
    folder = family_folder(run.family)
    names = names_of(models) or [member["name"] for member in members(folder)]
    return loading.load(names, folder, run.device, run.dtype, run.attn)


def curves(
    heavy: AnyPath | None = None,
    lights: AnyPath | Iterable[AnyPath] = (),
    baseline: AnyPath | None = None,
    *,
    family: AnyPath | None = None,
    out: AnyPath | None = None,
    device: "str | torch.device" = "auto",
    attn: str = "auto",
    progress: ProgressOption = False,
    **options,
) -> Curves:
    """Measures KL and loss of light models against the heavy one over t, on shared corrupted
    inputs; the measurement of `stepimp kl` and `stepimp loss`.

    heavy, lights: by default the family's deepest and shallowest member. baseline: the heavy model
    trained from another seed, which the relative KL is measured above. out: the results folder.
    progress: True for a bar, or a function, called with the sequences measured and to measure.
    options: the other fields of `stepimp.curves.options.CurveOptions`, such as data, sequences,
    points and seed. Where the results folder holds this measurement, no model runs. KL and loss are
    in nats per masked token.
    Raises StepimpError for values that cannot be used and for models that do not go together,
    TypeError for an option that does not exist.
    """
    check_names(curves, CurveOptions, options)
    run = options_of_run(family, out, device=device, attn=attn)
    heavy = None if heavy is None else name_of(heavy)
    heavy, lights = chosen_members(heavy, names_of(lights), family_folder(run.family))
    baseline = None if baseline is None else name_of(baseline)
    asked = CurveOptions(
        heavy=heavy, lights=lights, baseline=baseline, family=run.family, **options
    )
    return measured(asked, run, progress)


def measured(options: CurveOptions, run: ModelOptions, progress: ProgressOption) -> Curves:
    """`measure_curves`, which also logs what is unusual about the measurement."""
    document = measure_curves(options, run.out, device=run.device, attn=run.attn, progress=progress)
    for remark in remarks(document):
        log.warning(remark)
    return Curves(document)


def recommend(
    curves: Curves | AnyPath | None = None,
    budget: float = 0.25,
    *,
    by: str = "kl",
    heavy: AnyPath | None = None,
    lights: AnyPath | Iterable[AnyPath] = (),
    family: AnyPath | None = None,
    out: AnyPath | None = None,
    device: "str | torch.device" = "auto",
    attn: str = "auto",
    progress: ProgressOption = False,
    **options,
) -> Recommendation:
    """The schedule that loses least under a budget, from curves and without sampling.

    curves: measured curves or the file of a curves document; by default the newest matching ones of
    the results folder, measured now if there are none. budget: the fraction of steps that run
    light, from 0 to 1. by: "kl", "loss" or "nelbo", what a light step costs. heavy, lights: models
    that the curves must have; by default those of the curves. progress: True for a bar, or a
    function, called with the work done and to do. options: those of
    `stepimp.quality.recommendation.recommendation`, such as segments, steps, save_flops and
    verification. Raises StepimpError for values that cannot be used and where no schedule meets the
    budget, TypeError for an option that does not exist.
    """
    check_names(recommend, recommendation, options)
    run = options_of_run(family, out, device=device, attn=attn)
    heavy = None if heavy is None else name_of(heavy)
    lights = names_of(lights)
    asked = checked(recommendation, options | dict(budget=budget, by=by))
    asked |= dict(heavy=heavy, lights=lights, progress=progress)
    if isinstance(curves, Curves):
        document = curves.document
    elif isinstance(curves, AnyPath):
        document = read_curves(curves)
    elif curves is None:
        document = curves_for(by, heavy, lights, run, partial(measure_for, run, progress))
    else:
        raise StepimpError(
            f"{type(curves).__name__} does not hold curves: give what stepimp.curves returned, the "
            "path of its file, or None for the newest."
        )
    return Recommendation(recommendation(document, run.out, **asked))


def measure_for(run: ModelOptions, progress: ProgressOption, options: CurveOptions) -> dict:
    """The curves document of options, for a recommendation that has none to use."""
    return measured(options, run, progress).document


def sample(
    schedule: AnySchedule | Recommendation | AnyPath | None = None,
    samples: int = 4,
    *,
    family: AnyPath | None = None,
    out: AnyPath | None = None,
    progress: ProgressOption = False,
    **options,
) -> Texts:
    """Texts drawn exactly with a model schedule.

    schedule: a `Schedule`, a `MaskedSchedule`, a `Plan`, a recommendation, the notation of one such
    as "L125,H750,L125", or a file that holds one; by default the newest recommendation in the
    results folder, made now if there is none. samples: number of texts, of each prompt. options:
    the other fields of `stepimp.sampling.chosen.GenerateOptions`, such as length (in tokens),
    prompt (a list of texts to continue, or a file), order, seed and device; with cascade or draft
    in place of a schedule. progress: True for a bar, or a function, called with the tokens drawn
    and to draw. Samples that an interrupted run finished are not drawn again. Raises StepimpError
    for a schedule, model, length or prompt that cannot be used, TypeError for an option that does
    not exist.
    """
    check_names(sample, GenerateOptions, options)
    run = options_of_run(family, out)
    if isinstance(schedule, Recommendation):
        schedule = schedule.schedule
    if not isinstance(schedule, AnySchedule | AnyPath | None):
        raise StepimpError(
            f"{type(schedule).__name__} is not a schedule: give a notation such as L125,H750,L125, "
            "a Schedule, or what stepimp.recommend returned."
        )
    asked = GenerateOptions(
        schedule=settled(schedule, str), samples=samples, family=run.family, out=run.out, **options
    )
    advise = partial(recommend_for, asked, progress)
    return Texts(*generate_texts(asked, advise, progress=progress))


def recommend_for(run: ModelOptions, progress: ProgressOption) -> dict:
    """A recommendation document for the family, made because there is none."""
    options: dict = dict(device=run.device, attn=run.attn, progress=progress)
    return recommend(family=run.family, out=run.out, **options).document
