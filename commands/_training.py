"""Options that `stepimp train` and `stepimp judge` share, and what the options of both mean to the
library, for these commands and for `stepimp estimate`.
"""

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from ._options import BELOW_ONE, POSITIVE, count_option, number_option, together

if TYPE_CHECKING:
    from stepimp.training.recipe import Recipe

FAMILY_SHAPE = {
    "length": "model_length",
    "width": "hidden_dim",
    "heads": "n_heads",
    "cond_dim": "cond_dim",
    "dropout": "dropout",
    "time_conditioning": "time_conditioning",
    "noise": "noise",
}
"""Option of `stepimp train` -> argument of MDLMConfig."""
JUDGE_SHAPE = {
    "layers": "n_layer",
    "width": "n_embd",
    "heads": "n_head",
    "context": "n_positions",
    "dropout": "dropout",
}
"""Option of `stepimp judge` -> argument of GPT2Config."""


def optimizer_options(
    part: str, muon_lr: float, adamw_lr: float, warmup: int, ema: float, save_every: int
):
    """Options of the optimizer, of the averaged weights and of checkpoints, with these defaults.

    part: what the model is made of, whose matrices Muon trains.
    """
    return together(
        number_option(
            "--muon-lr",
            type=POSITIVE,
            default=muon_lr,
            help=f"Peak rate of Muon, for the {part}' matrices.",
        ),
        number_option(
            "--adamw-lr",
            type=POSITIVE,
            default=adamw_lr,
            help="Peak rate of AdamW, for everything else.",
        ),
        count_option("--warmup", default=warmup, help="Steps of linear warm-up."),
        number_option(
            "--ema",
            type=BELOW_ONE,
            default=ema,
            help="Decay of the averaged weights, which are the ones kept.",
        ),
        count_option("--save-every", default=save_every, help="Steps between checkpoints."),
    )


def command_line() -> str:
    """The command that is running, as it would be typed."""
    return shlex.join(["stepimp", *sys.argv[1:]])


def family_shape(params: dict[str, Any]) -> dict[str, Any]:
    """The shape that all members share. params: the options of `stepimp train`."""
    width, heads = params["width"], params["heads"]
    if width % (2 * heads):
        raise click.BadParameter(
            f"{width} must be a multiple of twice the {heads} heads.", param_hint="--width"
        )
    return {field: params[option] for option, field in FAMILY_SHAPE.items()}


def judge_shape(params: dict[str, Any]) -> dict[str, Any]:
    """The shape of a judge. params: the options of `stepimp judge`."""
    width, heads = params["width"], params["heads"]
    if width % heads:
        raise click.BadParameter(
            f"{width} must be a multiple of the {heads} heads.", param_hint="--width"
        )
    return {field: params[option] for option, field in JUDGE_SHAPE.items()}


def recipe_of(params: dict[str, Any]) -> "Recipe":
    """The recipe. params: the options of `stepimp train` or `stepimp judge`."""
    from dataclasses import fields

    from stepimp.training.recipe import Recipe

    names = [field.name for field in fields(Recipe)]
    return Recipe(**{name: params[name] for name in names if name in params})
