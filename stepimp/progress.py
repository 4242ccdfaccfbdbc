"""How the library reports how far a piece of work is."""

from collections.abc import Callable

from stepimp.errors import StepimpError
from stepimp.launcher import launched

Progress = Callable[[int, int], None]
"""Called with the units of work that are done, and the number of all of them; first when the work
begins."""
ProgressOption = Progress | bool | None
"""A function to call; True for a bar, of the first process alone; False or None for nothing."""


def no_progress(done: int, total: int):
    """For work that nobody watches."""


def reporter(progress: ProgressOption) -> Progress:
    """The function that is called for what was asked for. Raises StepimpError for anything else."""
    if progress is True:
        return Bar() if launched()[0] == 0 else no_progress
    if progress is None or progress is False:
        return no_progress
    if callable(progress):
        return progress
    raise StepimpError(
        f"progress is {progress!r}: give True for a bar, or a function that is called with the "
        "units of work done and to do."
    )


class Bar:
    """A bar of tqdm, in a notebook one of its widgets; work that follows gets a bar of its own."""

    def __init__(self):
        self.bar = None

    def __call__(self, done: int, total: int):
        from tqdm.auto import tqdm

        if self.bar is None and done < total:
            self.bar = tqdm(total=total, initial=done)
        if self.bar is None:
            return  # what is finished may be reported again
        self.bar.total = total
        self.bar.update(done - self.bar.n)
        if done >= total:
            self.bar.close()
            self.bar = None
