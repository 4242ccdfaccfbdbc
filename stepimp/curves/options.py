"""What a measurement of curves depends on."""

from dataclasses import asdict, dataclass

from stepimp.errors import StepimpError

MOST_SAMPLES = 10_000  # sequences at most where the inputs are samples and `until` decides


@dataclass(frozen=True)
class CurveOptions:
    """Options of one measurement. Equal options, weights and text give the same document.

    Raises StepimpError where a model has two parts, or for `repeats` of samples.
    """

    heavy: str
    """The large model, p_H."""
    lights: tuple[str, ...]
    """Smaller models, each compared with the heavy one."""
    baseline: str | None = None
    """The heavy model trained from another seed; the relative KL is above its KL."""
    data: str | None = None
    """Text to corrupt, see `text.blocks.load_documents`; None: what the family was trained on."""
    split: str = "heldout"
    """"heldout", documents that training never saw, or "all"."""
    inputs: str = "text"
    """"text", or "samples" of the heavy model in 1000 steps, masked as they were on the way."""
    sequences: int = 200
    """Sequences to average over."""
    until: float | None = None
    """Instead of `sequences`: measure until the widest 95% band is at most plus or minus this, in
    nats."""
    repeats: int = 1
    """Corruptions of each sequence."""
    points: int = 20
    """Times t, equally spaced up to 1, or numbers of masked positions."""
    length: int | None = None
    """Tokens per sequence; None: the models' maximum."""
    batch_size: int = 32
    """Sequences per forward pass."""
    seed: int = 0
    """Seed of the choice of sequences, the corruptions and the bootstrap."""
    dtype: str = "float32"
    """Dtype of the models' bodies."""
    family: str | None = None
    """Name or folder of the family; None: the bundled docs."""
    by_masked: bool = False
    """Curves over n, the exact number of masked positions, instead of over t."""

    def __post_init__(self):
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
        """The options as a results document has them. `by_masked` is there only where it is set:
        curves over t keep the names they had before there were others.
        """
        params = asdict(self) | {"lights": list(self.lights)}
        return params if self.by_masked else {k: v for k, v in params.items() if k != "by_masked"}


@dataclass(frozen=True, kw_only=True)
class CompleteOptions(CurveOptions):
    """Options that leave nothing to the models: see `stepimp.sampling.curves.completed`."""

    data: str
    length: int
