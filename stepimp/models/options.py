"""Options that several kinds of run have in common."""

from dataclasses import dataclass

from stepimp.errors import StepimpError

MOST_SEED = 2**32 - 1  # as NumPy and transformers take them


def check_seed(seed: int):
    """Raises StepimpError for what is not a seed."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MOST_SEED:
        raise StepimpError(f"{seed!r} is not a seed: choose a whole number from 0 to {MOST_SEED}.")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run computes and where its results go."""

    family: str | None = None
    """Folder of a family or name of a bundled one; None: the bundled family."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    dtype: str = "float32"
    """Dtype of the models' bodies."""
    seed: int = 0
    """Seed of every random draw."""
    out: str = "results"
    """Folder the results are written to."""

    def __post_init__(self):
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class ModelOptions(RunOptions):
    """A run of denoisers."""

    attn: str = "auto"
    """Implementation of attention, as transformers names them."""
