"""What the options of `stepimp train` and `stepimp judge` mean to the library, for these commands
and for `stepimp estimate`.
"""

from typing import TYPE_CHECKING, Any

import click

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
