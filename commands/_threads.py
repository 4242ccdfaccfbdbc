"""How many threads torch takes: one for small models, which gain nothing from a second."""

import functools
import os

from stepimp.errors import StepimpError

# Products of matrices this small take less time than it takes to share them among threads.
SMALL_MODEL = 10_000_000
"""Parameters of the largest model that runs best on one thread."""


def few_threads(function):
    """A command's callback that runs small models on one thread, unless OMP_NUM_THREADS is set."""

    @functools.wraps(function)
    def threaded(*arguments, **options):
        choose_threads(options)
        return function(*arguments, **options)

    return threaded


def choose_threads(params: dict):
    """Has torch take one thread where a command runs small models alone. Comes before torch is
    imported, which reads the variable then.

    params: the options of a command as click has parsed them.
    """
    if "OMP_NUM_THREADS" not in os.environ and are_small(params):
        os.environ["OMP_NUM_THREADS"] = "1"


def are_small(params: dict) -> bool:
    """Whether all models that a command names, or all of the family, are known to be small."""
    from stepimp.models.family import family_folder, members

    try:
        sizes = {
            row["name"]: row["parameters"] or 0
            for row in members(family_folder(params.get("family")))
        }
    except StepimpError:  # the command will say so itself
        return False
    named = {params.get(option) for option in ("heavy", "light", "baseline")}
    named |= {*sizes, *params.get("lights", ())}
    return all(0 < sizes.get(name, 0) <= SMALL_MODEL for name in named if name)
