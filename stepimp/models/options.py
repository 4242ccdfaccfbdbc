"""Options that several kinds of run have in common."""

import numbers
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any, Literal, get_args, get_origin

from stepimp.checks import fault, fields
from stepimp.errors import StepimpError

Dtype = Literal["float32", "bfloat16", "float16", "float64"]
MOST_SEED = 2**32 - 1  # as NumPy and transformers take them


def check_seed(seed: int):
    """Raises StepimpError for what is not a seed."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MOST_SEED:
        raise StepimpError(f"{seed!r} is not a seed: choose a whole number from 0 to {MOST_SEED}.")


def plain(value: Any) -> Any:
    """A value as options and results have it: paths, torch's dtypes and devices by their names,
    NumPy's scalars as Python's.
    """
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if f"{type(value).__module__}.{type(value).__name__}" in ("torch.dtype", "torch.device"):
        return str(value).removeprefix("torch.")
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


def settled(value: Any, kind: Any) -> Any:
    """A value as options of a declared type hold it: as `plain` makes it; schedules and orders as
    their notation where a string is declared; where a tuple is, a list as one, and one such string
    as the tuple of itself.
    """
    value, parts = plain(value), (kind, *get_args(kind))
    if str in parts and hasattr(value, "format"):
        value = value if isinstance(value, str) else value.format()
        return (value,) if get_origin(kind) is tuple else value
    items = [get_args(part)[0] for part in parts if get_origin(part) is tuple]
    if items and isinstance(value, list | tuple):
        return tuple(settled(each, items[0]) for each in value)
    return value


def checked(declared: type | Callable, values: dict[str, Any]) -> dict[str, Any]:
    """The values as `settled` makes them.

    declared: a dataclass, or a function with annotated parameters. Raises StepimpError for a value
    that is not of the type declared for its name.
    """
    kinds, options = fields(declared), {}
    for name, value in values.items():
        value = settled(value, kinds.get(name))
        if name == "seed":
            check_seed(value)
        elif name in kinds and (wrong := option_fault(value, kinds[name], name)):
            raise StepimpError(f"{wrong}.")
        options[name] = value
    return options


def option_fault(value: Any, kind: Any, name: str) -> str:
    """`fault`, which speaks of null where an option may be None."""
    if isinstance(value, str) and str in (kind, *get_args(kind)):
        return ""  # what uses it knows best which strings it takes
    others = [part for part in get_args(kind) if part is not type(None)]
    if len(others) == len(get_args(kind)) or value is None:
        return fault(value, kind, name)
    return fault(value, reduce(or_, others), name)


def check_fields(options: Any):
    """Checks the fields of a frozen dataclass of options, and makes them plain: see `checked`."""
    for name, value in checked(type(options), vars(options)).items():
        object.__setattr__(options, name, value)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run computes and where its results go."""

    family: str | None = None
    """Folder of a family or name of a bundled one; None: the bundled family."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    dtype: Dtype = "float32"
    """Dtype of the models' bodies."""
    seed: int = 0
    """Seed of every random draw."""
    out: str = "results"
    """Folder the results are written to."""

    def __post_init__(self):
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class ModelOptions(RunOptions):
    """A run of denoisers."""

    attn: str = "auto"
    """Implementation of attention, as transformers names them."""
