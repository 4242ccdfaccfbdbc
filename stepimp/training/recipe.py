"""How a model is trained, apart from its shape, its seed and its text."""

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace

KEPT_CHECKPOINTS = 2  # the older one serves while the newer is being written
# Fields that may change while a training is unfinished.
MAY_CHANGE = ("save_every", "snapshot_every", "compile", "weights")


@dataclass(frozen=True)
class Recipe:
    """Optimizer, learning rate, precision, and what is saved when."""

    steps: int
    """Optimizer steps."""
    batch_size: int
    """Sequences per step and process."""
    muon_lr: float
    """Peak learning rate of Muon, for the matrices of the blocks."""
    adamw_lr: float
    """Peak learning rate of AdamW, for everything else."""
    warmup: int
    """Steps of linear warm-up."""
    ema: float
    """Decay of the averaged weights, which are the ones kept."""
    save_every: int
    """Steps between checkpoints."""
    bf16: bool = False
    """Mixed precision: bf16 products, fp32 weights."""
    compile: bool = False
    """Run the blocks in their fastest way, which needs a compiler."""
    weights: str = "float32"
    """Dtype of the stored weights."""
    schedule: str = "cosine"
    """Learning rate after the warm-up: "cosine" falls to 0 from the start, "trapezoid" stays at its
    peak until `stable_step` and then falls linearly, so that a training can be extended."""
    decay: float = 0.2
    """Fraction of the steps in which the trapezoid falls."""
    snapshot_every: int = 0
    """Steps between snapshots of the averaged weights that are kept as models; 0 for none."""

    @property
    def stable_step(self) -> int:
        """The last step at the full rate of a trapezoid."""
        return int(self.steps * (1 - self.decay))

    def rate(self, step: int) -> float:
        """The learning rate at a step, counted from 0, as a fraction of its peak."""
        warm = min(1.0, (step + 1) / self.warmup)
        if self.schedule == "cosine":
            return warm * 0.5 * (1 + math.cos(math.pi * min(1, step / self.steps)))
        left = (self.steps - step) / max(1, self.steps - self.stable_step)
        return warm * min(1.0, max(0.0, left))

    def continues(self, earlier: "Recipe") -> bool:
        """Whether a training that began by an earlier recipe can continue by this one: all that
        shapes the weights is the same, except that a trapezoid may have become longer.
        """
        same = {name: getattr(self, name) for name in MAY_CHANGE}
        if self.extends(earlier):
            same["steps"] = self.steps
        return replace(earlier, **same) == self

    def extends(self, earlier: "Recipe") -> bool:
        """Whether this is a longer trapezoid than the earlier recipe."""
        return self.schedule == "trapezoid" and self.steps > earlier.steps

    def as_dict(self) -> dict:
        """The recipe as JSON has it."""
        return asdict(self)


def members_to_train(
    depths: Collection[int], seed: int, baseline_seed: int | None
) -> dict[str, tuple[int, int]]:
    """name -> (blocks, seed) of a family's members: one per depth, and the deepest again from
    `baseline_seed`, if any.
    """
    members = {f"{depth}b": (depth, seed) for depth in depths}
    if baseline_seed is not None:
        members[f"{max(depths)}b_seed{baseline_seed}"] = (max(depths), baseline_seed)
    return members
