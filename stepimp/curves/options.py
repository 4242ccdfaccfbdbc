"""What a measurement of curves depends on."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from stepimp.checks import Count, Positive
from stepimp.errors import StepimpError
from stepimp.models.family import chosen_members, family_folder, other_seed
from stepimp.models.options import Dtype, ModelOptions, check_fields

MOST_SAMPLES = 10_000  # sequences at most of samples, and of a large text, where `until` decides


@dataclass(frozen=True)
class CurveOptions:
    """Options of one measurement. Equal options, weights and text give the same document.

    Raises StepimpError for values of another type or range than declared, where a model has two
    parts, or for `repeats` of samples.
    """

    heavy: str
    """The large model, p_H."""
    lights: tuple[str, ...]
    """Smaller models, each compared with the heavy one."""
    baseline: str | None = None
    """The heavy model trained from another seed; the relative KL is above its KL."""
    data: str | None = None
    """Text to corrupt, see `text.blocks.load_documents`; None: what the family was trained on."""
    column: str | None = None
    """Where the text is in rows of several columns; None: "text", or the family's own column for
    the text that the family was trained on."""
    split: Literal["heldout", "all"] = "heldout"
    """"heldout", documents that training never saw, or "all"."""
    inputs: Literal["text", "samples"] = "text"
    """"text", or "samples" of the heavy model in 1000 steps, masked as they were on the way."""
    sequences: Count = 200
    """Sequences to average over."""
    until: Positive | None = None
    """Instead of `sequences`: measure until the widest 95% band is at most plus or minus this, in
    nats."""
    repeats: Count = 1
    """Corruptions of each sequence."""
    points: Count = 20
    """Times t, equally spaced up to 1, or numbers of masked positions."""
    length: Count | None = None
    """Tokens per sequence; None: the models' maximum."""
    batch_size: Count = 32
    """Sequences per forward pass."""
    seed: int = 0
    """Seed of the choice of sequences, the corruptions and the bootstrap."""
    dtype: Dtype = "float32"
    """Dtype of the models' bodies."""
    family: str | None = None
    """Name or folder of the family; None: the bundled docs."""
    by_masked: bool = False
    """Curves over n, the exact number of masked positions, instead of over t."""

    def __post_init__(self):
        check_fields(self)
        if self.heavy in self.lights:
            raise StepimpError(f"{self.heavy} is the heavy model: choose another light one.")
        if self.baseline in (self.heavy, *self.lights):
            raise StepimpError(
                f"{self.baseline} is already heavy or light: choose another baseline."
            )
        if self.inputs == "samples" and self.repeats > 1:
            raise StepimpError("A sample has one order of unmasking: use one repeat.")

    @property
    def models(self) -> tuple[str, ...]:
        """All models, the heavy one first."""
        return (self.heavy, *self.lights, *([self.baseline] if self.baseline else []))

    def params(self) -> dict:
        """The options as a results document has them. The column is there only where it is not
        "text", and `by_masked` where it is set: curves keep the names they had before these.
        """
        params = asdict(self) | {"lights": list(self.lights)}
        if self.column in (None, "text"):
            del params["column"]
        if not self.by_masked:
            del params["by_masked"]
        return params


@dataclass(frozen=True, kw_only=True)
class CompleteOptions(CurveOptions):
    """Options that leave nothing to the models: see `stepimp.sampling.curves.completed`."""

    data: str
    column: str
    length: Count


def default_options(
    heavy: str | None, lights: Iterable[str], models: ModelOptions, by_masked: bool
) -> CurveOptions:
    """Options of curves that nobody asked for: those of a bare `stepimp kl`, and another seed of
    the heavy model as the baseline where the family has one.
    """
    folder = family_folder(models.family)
    heavy, lights = chosen_members(heavy, lights, folder)
    baseline = other_seed(folder, heavy)
    return CurveOptions(
        heavy=heavy,
        lights=lights,
        baseline=None if baseline in lights else baseline,
        family=models.family,
        dtype=models.dtype,
        by_masked=by_masked,
    )
