"""Which policies are compared at one mean cost: the best of each kind, by held-out text."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from stepimp.checks import Count, Share
from stepimp.curves.inputs import TextInputs, text_inputs
from stepimp.curves.measurements import Measurements
from stepimp.curves.options import CompleteOptions
from stepimp.errors import StepimpError
from stepimp.intervals import Estimate, bootstrap, resampled_means
from stepimp.models.loading import Family
from stepimp.models.options import ModelOptions
from stepimp.sampling.cascade import Cascade
from stepimp.sampling.cascade_prediction import HeldOutEvents, measure_events
from stepimp.sampling.drafting import Draft
from stepimp.sampling.policies import Policy
from stepimp.schedules import over_masked
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan_frontier import PlanFrontier
from stepimp.schedules.plans import pass_units
from stepimp.schedules.predicted import Predictor
from stepimp.schedules.recommend_masked import recommend_masked
from stepimp.schedules.saved import AnySchedule
from stepimp.schedules.schedule import Schedule, parse
from stepimp.wording import counted

FIXED = "best over steps"
AT_EQUAL_COST = ("best over n", "plan", "cascade")
OF_TEXT = {"until": None, "inputs": "text", "by_masked": False}
STRATA = 16  # states of each sequence that tune the cascade


@dataclass(frozen=True, kw_only=True)
class PolicyOptions(ModelOptions):
    """What `compare_policies` compares."""

    heavy: str
    light: str
    save_flops: Share = 0.25
    """Share of the all-heavy cost that every policy but drafting saves, counting blocks."""
    steps: Count = 1000
    """T of ancestral sampling, for all but the plan."""
    samples: Count = 32
    """Samples per policy."""
    sequences: Count = 100
    """Held-out sequences on which the NELBO is measured, none of which chose the policies."""
    draft: Count = 4
    """Events that the light model drafts at once."""
    batch_size: Count = 8
    judge: str | None = None
    """Folder or Hugging Face id of the judge; None: the family's own, else GPT-2."""


@dataclass(frozen=True)
class Chosen:
    """A policy and what is predicted of it on the text that chose it."""

    name: str
    policy: Policy
    heavy_forwards: float
    """Expected cost of a sample in passes of the heavy model, counting blocks."""
    nelbo: Estimate
    path_kl: Estimate


def split_text(
    curves: dict, family: Family, options: PolicyOptions
) -> tuple[TextInputs, torch.Tensor, str]:
    """The sequences that measured the curves, further ones, [sequences, L], and a fingerprint of
    the text. Raises StepimpError where the text has too few.
    """
    params, used = curves["params"], Measurements.unpack(curves).sequences
    decided: dict = {"lights": tuple(params["lights"]), "sequences": used + options.sequences}
    names = {field.name for field in fields(CompleteOptions)}  # params say more, such as `attn`
    asked = {name: value for name, value in params.items() if name in names}
    complete = CompleteOptions(**{"column": "text"} | asked | decided | OF_TEXT)
    inputs, source = text_inputs(complete, family.tokenizer, family.denoisers[options.heavy])
    if len(inputs) < used + options.sequences:
        raise StepimpError(
            f"{params['data']} has {counted(len(inputs), 'held-out sequence')}, {used} of which "
            f"measured the curves: {options.sequences} further ones are needed. Use fewer, "
            "or more text."
        )
    return replace(inputs, tokens=inputs.tokens[:used]), inputs.tokens[used:], source


def choose(
    options: PolicyOptions, curves: dict, family: Family, tuning: TextInputs
) -> list[Chosen]:
    """All-heavy, the best schedules over steps and over n, the best plan, the cascade and drafting,
    with their predictions.

    Raises StepimpError where the light model cannot save that much.
    """
    heavy, light, steps, blocks = options.heavy, options.light, options.steps, family.blocks
    most = 1 - blocks[light] / blocks[heavy]
    if not 0 < options.save_flops <= most:
        raise StepimpError(
            f"{light} in the place of {heavy} saves at most {most:.1%} of the FLOPs: a budget of "
            f"{options.save_flops:.1%} cannot be met."
        )
    measurements = replace(Measurements.unpack(curves), lights=(light,))
    predictor = Predictor(measurements, blocks, "nelbo", steps, options.seed)
    chosen = []
    for name, schedule in best_schedules(options, measurements, predictor, blocks, most).items():
        row = predictor.row(name, schedule, light)
        nats = (Estimate.of(row, column) for column in ("nelbo_nats", "path_kl_nats"))
        over_n = isinstance(schedule, MaskedSchedule)
        policy = Policy(schedule, steps if over_n else None)
        chosen.append(Chosen(name, policy, row["heavy_forwards"], *nats))
    passes = float(predictor.forwards.sum())
    events = measure_events(
        family.denoisers, heavy, light, tuning, steps, strata=STRATA, seed=options.seed
    )
    chosen.append(tuned_cascade(options, events, most - options.save_flops, passes, 1 - most))
    drafting = Policy(Draft(heavy, light, options.draft), steps)
    return [
        *chosen,
        replace(chosen[0], name="draft and verify", policy=drafting, heavy_forwards=math.nan),
    ]


def best_schedules(
    options: PolicyOptions,
    measurements: Measurements,
    predictor: Predictor,
    blocks: Mapping[str, int],
    most: float,
) -> dict[str, AnySchedule]:
    """{name: schedule}: all-heavy, and those that lose least where `options.save_flops` is saved.

    most: the share of the FLOPs that the light model alone saves.
    """
    heavy, light, steps = options.heavy, options.light, options.steps
    advice = recommend_masked(
        measurements,
        blocks,
        options.save_flops / most,  # the share of light passes that saves it exactly
        steps=steps,
        by="nelbo",
        seed=options.seed,
    )
    best = next(row for row in advice["rows"] if row["name"] == "recommended")
    passes = float(predictor.forwards.sum())
    units = pass_units({m: blocks[m] for m in (heavy, light)}, heavy, passes)
    nelbo = {m: predictor.curves["nelbo_nats"][m][0] for m in (heavy, light)}
    allowed = math.floor((1 - options.save_flops) * passes * units[heavy] + 1e-9)
    return {
        "all-heavy": Schedule.of([heavy] * steps),
        FIXED: parse(best["best_over_steps"], heavy, light),
        "best over n": over_masked.parse(best["schedule"], heavy, light),
        "plan": PlanFrontier(nelbo, units, allowed).best(allowed),
    }


def tuned_cascade(
    options: PolicyOptions, events: HeldOutEvents, share: float, passes: float, light_cost: float
) -> Chosen:
    """The cascade that escalates this share of its events on the text that chooses.

    light_cost: of the light model's pass, in passes of the heavy one.
    """
    threshold = events.threshold(share)
    predicted = events.predicted(events.entropy > threshold)
    tokens = np.maximum(events.tokens, 1)
    nelbo, path_kl = resampled_means(
        np.stack([predicted["nelbo"], predicted["path_kl"]]) / tokens,
        options.seed,
        np.stack([events.tokens] * 2),
    )
    escalated = float(predicted["heavy"].sum() / events.weight.sum())
    policy = Policy(Cascade(options.heavy, options.light, threshold), options.steps)
    return Chosen(
        "cascade", policy, passes * (light_cost + escalated), bootstrap(nelbo), bootstrap(path_kl)
    )
