"""H and L, the letters that stand for the heavy and the light model where a schedule is written."""

from collections.abc import Iterable

from stepimp.checks import shortened
from stepimp.errors import StepimpError


def parts_of(text: str) -> list[str]:
    """The parts of a written schedule. Raises StepimpError for what is not text."""
    if not isinstance(text, str):
        raise StepimpError(
            f"{shortened(text)} is not the notation of a schedule: write one, such as "
            "L125,H750,L125."
        )
    return text.replace(" ", "").split(",")


def written_names(models: Iterable[str], heavy: str | None, light: str | None) -> dict[str, str]:
    """model -> how a schedule names it: H and L where `heavy` and `light` are all its models, else
    by name.
    """
    letters = {heavy: "H", light: "L"}
    models = list(models)
    if set(models) <= {heavy, light}:
        return {model: letters[model] for model in models}
    return {model: model for model in models}


def model_of(name: str, heavy: str | None, light: str | None, text: str) -> str:
    """The model that a written name means. text: the whole schedule, for the message.

    Raises StepimpError for a letter whose model is not given.
    """
    letters = {"H": ("heavy", heavy), "L": ("light", light)}
    if name not in letters:
        return name
    role, model = letters[name]
    if model is None:
        raise StepimpError(f"Schedule {text!r} says {name}, but no {role} model is given: name it.")
    return model
