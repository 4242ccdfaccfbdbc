"""Options that every run of loaded models has."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Where models come from, how they run, and where results go."""

    family: str | None = None
    """Folder of a family or name of a bundled one; None: the bundled family."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    dtype: str = "float32"
    """Dtype of the models' bodies."""
    attn: str = "auto"
    """Implementation of attention, as transformers names them."""
    seed: int = 0
    """Seed of every random draw."""
    out: str = "results"
    """Folder the results are written to."""
