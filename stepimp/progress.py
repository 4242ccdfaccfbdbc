"""How the library reports how far a piece of work is."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with the units of work that are done, and the number of all of them."""


def no_progress(done: int, total: int):
    """For work that nobody watches."""
