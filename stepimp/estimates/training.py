"""What trainings run, by their sizes alone, and what they take at measured rates."""

from dataclasses import dataclass

from stepimp.training.recipe import KEPT_CHECKPOINTS, Recipe


@dataclass(frozen=True)
class TrainingCosts:
    """FLOPs of a model that is trained."""

    forward: float
    """FLOPs of a sequence, with the projection at the positions that have a loss."""
    optimizer: float
    """FLOPs of Muon in a step."""
    teacher: float = 0.0
    """FLOPs of the teacher for a sequence."""


@dataclass(frozen=True)
class Training:
    """The training of one model, from its first step."""

    recipe: Recipe
    held_out: int
    """Sequences that the finished model is evaluated on."""
    snapshot_sequences: int = 0
    """Sequences that each snapshot is evaluated on."""

    @property
    def trained(self) -> int:
        """Sequences that go forward and backward."""
        return self.recipe.steps * self.recipe.batch_size

    @property
    def snapshots(self) -> int:
        """Times that the averaged weights are kept as a model."""
        interval = self.recipe.snapshot_every
        return self.recipe.steps // interval if interval else 0

    @property
    def evaluated(self) -> int:
        """Held-out sequences that go forward."""
        return self.held_out + self.snapshots * self.snapshot_sequences

    @property
    def forwards(self) -> int:
        """Sequences that go forward in all."""
        return self.trained + self.evaluated

    @property
    def checkpoints(self) -> int:
        """Checkpoints that are written: one every `save_every` steps, after the last step, and at
        the end of a trapezoid's plateau.
        """
        recipe = self.recipe
        steps = {*range(recipe.save_every, recipe.steps, recipe.save_every), recipe.steps}
        if recipe.schedule == "trapezoid" and recipe.stable_step:
            steps.add(recipe.stable_step)
        return len(steps)

    def flops(self, costs: TrainingCosts) -> float:
        """FLOPs of all steps and evaluations."""
        learned = self.trained * (3 * costs.forward + costs.teacher)
        return learned + self.recipe.steps * costs.optimizer + self.evaluated * costs.forward

    def kept_bytes(self, model: float, checkpoint: float) -> float:
        """Bytes that stay on disk: the model, its snapshots and a trapezoid's checkpoint.

        model, checkpoint: bytes of one.
        """
        stable = checkpoint if self.recipe.schedule == "trapezoid" else 0.0
        return (1 + self.snapshots) * model + stable

    def scratch_bytes(self, checkpoint: float) -> float:
        """Most bytes of checkpoints that are removed again: those that are kept until a further one
        is complete, and that one.
        """
        return min(self.checkpoints, KEPT_CHECKPOINTS + 1) * checkpoint


@dataclass(frozen=True)
class TrainingRates:
    """What the training of one model costs."""

    costs: TrainingCosts
    warmup: float
    """Seconds that the first steps take longer than others."""
    step: float
    """Seconds of a step."""
    evaluation: float
    """Seconds of a held-out sequence."""
    checkpoint: float
    """Seconds to write a checkpoint."""
    model: float
    """Seconds to write the finished model."""
    checkpoint_bytes: int
    model_bytes: int

    def seconds(self, training: Training) -> float:
        """Seconds that a training takes from its first step on."""
        written = training.checkpoints * self.checkpoint + (1 + training.snapshots) * self.model
        evaluated = training.evaluated * self.evaluation
        return self.warmup + training.recipe.steps * self.step + evaluated + written


@dataclass(frozen=True)
class Calibration:
    """What trainings of some models on one text cost."""

    startup: float
    """Seconds until the text was read."""
    memory: int
    """Most bytes that the process, or the GPU, held."""
    held_out: int
    """Held-out sequences that a finished model is evaluated on."""
    snapshot_sequences: int
    """Held-out sequences that a snapshot is evaluated on."""
    models: dict[str, TrainingRates]

    def training(self, recipe: Recipe) -> Training:
        """What the training of one of the models by a recipe runs."""
        return Training(recipe, self.held_out, self.snapshot_sequences)
