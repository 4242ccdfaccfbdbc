"""The front door for notebooks and scripts: `load`, `curves`, `recommend` and `sample`.

They compute what the commands of the same purpose compute, with the same options and defaults, and
write the same results documents: curves that a command has measured are not measured again. As for
the commands, the family is by default that of the environment variable STEPIMP_FAMILY, else the
bundled one, and the results folder that of STEPIMP_RESULTS, else `results`.
"""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

from stepimp import pictures
from stepimp.curves.document import read_curves, remarks
from stepimp.curves.options import CurveOptions
from stepimp.intervals import Estimate
from stepimp.models import loading
from stepimp.models.family import chosen_members, family_folder, members
from stepimp.models.loading import Family
from stepimp.models.options import ModelOptions
from stepimp.progress import Progress, no_progress
from stepimp.quality.recommendation import recommendation
from stepimp.sampling.chosen import GenerateOptions
from stepimp.sampling.curves import curves_for, measure_curves
from stepimp.sampling.generated import generate_texts
from stepimp.schedules.saved import AnySchedule
from stepimp.schedules.schedule import Schedule, parse

__all__ = ["Curves", "Recommendation", "Texts", "curves", "load", "recommend", "sample"]

log = logging.getLogger(__name__)


def chosen_family(family: str | None) -> str | None:
    """The family asked for, else that of the environment variable; None for the bundled one."""
    return family or os.environ.get("STEPIMP_FAMILY")


def named(models: str | Iterable[str]) -> tuple[str, ...]:
    """The names of models; one name stands for itself, not for its letters."""
    return (models,) if isinstance(models, str) else tuple(models)


def chosen_out(out: str | None) -> str:
    """The results folder asked for, else that of the environment variable, else `results`."""
    return out or os.environ.get("STEPIMP_RESULTS") or ModelOptions.out


@dataclass(frozen=True, repr=False)
class Result:
    """A results document; docs/results.md lists the columns of its rows."""

    document: dict[str, Any]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    @property
    def rows(self) -> list[dict]:
        """One dict per row; `pandas.DataFrame(result.rows)` is a table of them."""
        return self.document["rows"]

    @property
    def path(self) -> str:
        """The file that holds the document."""
        return self.document["path"]


@dataclass(frozen=True, repr=False)
class Curves(Result):
    """How far light models lie from the heavy one at each t; in a notebook a plot with 95% bands.

    A row per light model and time.
    """

    @property
    def relative(self) -> bool:
        """Whether there is a baseline, so that rows have a relative KL."""
        return "relative_kl_nats" in self.rows[0]

    def points(self, column: str) -> dict[str, list[pictures.Point]]:
        """model -> (t, value, low, high) of a column with an interval, such as "kl_nats"."""
        points: dict[str, list[pictures.Point]] = {}
        for row in self.rows:
            points.setdefault(row["model"], []).append((row["t"], *Estimate.of(row, column)))
        return points

    def _repr_html_(self) -> str:
        """The relative KL, without a baseline the KL."""
        column = "relative_kl_nats" if self.relative else "kl_nats"
        name = "Relative KL" if self.relative else "KL(heavy || light)"
        return pictures.plot(self.points(column), f"{name}, nats per masked token")


@dataclass(frozen=True, repr=False)
class Recommendation(Result):
    """The best schedule under a budget; in a notebook a strip with what it is predicted to cost.

    The first row is the recommendation, the others are the hand-crafted schedules.
    """

    @property
    def schedule(self) -> Schedule:
        """The recommended schedule."""
        params = self.document["params"]
        light = min(params["lights"], key=self.document["blocks"].get)
        return parse(self.rows[0]["schedule"], params["heavy"], light)

    def _repr_html_(self) -> str:
        row = self.rows[0]
        summary = (
            f"Saves {row['saved_flops']:.1%} of the FLOPs; predicted path KL "
            f"{Estimate.of(row, 'path_kl_nats').text()}, NELBO "
            f"{Estimate.of(row, 'nelbo_nats').text()} nats per token."
        )
        return f"<div>{self.schedule._repr_html_()}<p>{escape(summary)}</p></div>"


@dataclass(frozen=True, repr=False)
class Texts(Result):
    """Generated texts, and what they cost to sample."""

    samples: list[dict]
    """{"index", "tokens", "text"} of each sample."""

    @property
    def texts(self) -> list[str]:
        """The text of each sample."""
        return [sample["text"] for sample in self.samples]

    @property
    def cost(self) -> dict:
        """Tokens drawn, forward passes of one sequence, batches and seconds of this run."""
        return self.document["cost"]

    def _repr_html_(self) -> str:
        shown = "".join(f"<pre>{escape(text)}</pre>" for text in self.texts)
        return f"<div><p>{escape(self.rows[0]['schedule'])}</p>{shown}</div>"


def load(
    models: str | Iterable[str] = (),
    family: str | None = None,
    *,
    device: str = "auto",
    dtype: str = "float32",
    attn: str = "auto",
) -> Family:
    """Denoisers that can run together, and their tokenizer.

    models: members of the family, checkpoint folders or hub ids; by default all members. family:
    folder of a family or name of a bundled one. Raises StepimpError for models that cannot be
    loaded or do not go together.
    """
    folder = family_folder(chosen_family(family))
    names = list(named(models)) or [member["name"] for member in members(folder)]
    return loading.load(names, folder, device, dtype, attn)


def curves(
    heavy: str | None = None,
    lights: str | Iterable[str] = (),
    baseline: str | None = None,
    *,
    family: str | None = None,
    out: str | None = None,
    device: str = "auto",
    attn: str = "auto",
    progress: Progress = no_progress,
    **options,
) -> Curves:
    """Measures KL and loss of light models against the heavy one over t, on shared corrupted
    inputs; the measurement of `stepimp kl` and `stepimp loss`.

    heavy, lights: by default the family's deepest and shallowest member. baseline: the heavy model
    trained from another seed, which the relative KL is measured above. options: the other fields of
    `stepimp.curves.options.CurveOptions`, such as data, sequences, points and seed. Where the
    results folder holds this measurement, no model runs. Raises StepimpError for models that do not
    go together.
    """
    family = chosen_family(family)
    heavy, lights = chosen_members(heavy, named(lights), family_folder(family))
    asked = CurveOptions(heavy=heavy, lights=lights, baseline=baseline, family=family, **options)
    return measured(asked, chosen_out(out), device, attn, progress)


def measured(
    options: CurveOptions, out: str, device: str, attn: str, progress: Progress = no_progress
) -> Curves:
    """`measure_curves`, which also logs what is unusual about the measurement."""
    document = measure_curves(options, out, device=device, attn=attn, progress=progress)
    for remark in remarks(document):
        log.warning(remark)
    return Curves(document)


def recommend(
    curves: Curves | str | None = None,
    budget: float = 0.25,
    *,
    by: str = "kl",
    heavy: str | None = None,
    lights: str | Iterable[str] = (),
    family: str | None = None,
    out: str | None = None,
    device: str = "auto",
    attn: str = "auto",
    progress: Progress = no_progress,
    **options,
) -> Recommendation:
    """The schedule that loses least under a budget, from curves and without sampling.

    curves: measured curves or the file of a curves document; by default the newest matching ones of
    the results folder, measured now if there are none. budget: the fraction of steps that run
    light. by: "kl", "loss" or "nelbo", what a light step costs. options: those of
    `stepimp.quality.recommendation.recommendation`, such as segments, steps, save_flops and
    verification. Raises StepimpError where no schedule meets the budget.
    """
    models = ModelOptions(
        family=chosen_family(family), out=chosen_out(out), device=device, attn=attn
    )
    lights = named(lights)
    if isinstance(curves, Curves):
        document = curves.document
    elif curves:
        document = read_curves(curves)
    else:
        document = curves_for(by, heavy, lights, models, partial(measure_for, models))
    asked = options | dict(budget=budget, by=by, heavy=heavy, lights=lights, progress=progress)
    return Recommendation(recommendation(document, models.out, **asked))


def measure_for(models: ModelOptions, options: CurveOptions) -> dict:
    """The curves document of options, for a recommendation that has none to use."""
    return measured(options, models.out, models.device, models.attn).document


def sample(
    schedule: AnySchedule | Recommendation | str | None = None,
    samples: int = 4,
    *,
    family: str | None = None,
    out: str | None = None,
    **options,
) -> Texts:
    """Texts drawn exactly with a model schedule.

    schedule: a `Schedule`, a `MaskedSchedule`, a `Plan`, a recommendation, or the notation of one
    such as "L125,H750,L125"; by default the newest recommendation in the results folder, made now
    if there is none. options: the other fields of `stepimp.sampling.chosen.GenerateOptions`, such
    as length, prefix, seed and device; with cascade or draft in place of a schedule.
    Samples that an interrupted run finished are not drawn again. Raises StepimpError for a
    schedule, model, length or prefix that cannot be used.
    """
    if isinstance(schedule, Recommendation):
        schedule = schedule.schedule
    asked = GenerateOptions(
        schedule=schedule.format() if isinstance(schedule, AnySchedule) else schedule,
        samples=samples,
        family=chosen_family(family),
        out=chosen_out(out),
        **options,
    )
    return Texts(*generate_texts(asked, partial(recommend_for, asked)))


def recommend_for(models: ModelOptions) -> dict:
    """A recommendation document for the family, made because there is none."""
    advice = recommend(family=models.family, out=models.out, device=models.device, attn=models.attn)
    return advice.document
