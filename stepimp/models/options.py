"""Options that several kinds of run have in common."""

from dataclasses import dataclass


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


@dataclass(frozen=True, kw_only=True)
class ModelOptions(RunOptions):
    """A run of denoisers."""

    attn: str = "auto"
    """Implementation of attention, as transformers names them."""
