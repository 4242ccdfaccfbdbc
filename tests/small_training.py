"""Trainings of a few steps, for tests."""

import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from stepimp.training.family import train_family
from stepimp.training.recipe import Recipe

SHAPE = dict(model_length=16, hidden_dim=16, cond_dim=4, n_heads=2, dropout=0.1, noise="linear")
RECIPE = Recipe(steps=7, batch_size=4, muon_lr=0.02, adamw_lr=0.01, warmup=2, ema=0.8, save_every=2)


class Killed(Exception):
    pass


class KillAt(TrainerCallback):
    """Ends a training without warning after a step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            raise Killed


def train(
    folder,
    text,
    depths=(1,),
    callbacks=(),
    baseline_seed=None,
    recipe=RECIPE,
    teacher=None,
    **shape,
):
    options = dict(vocab_size=262, command="stepimp train", callbacks=callbacks, teacher=teacher)
    return list(
        train_family(
            folder, list(depths), 3, baseline_seed, {**SHAPE, **shape}, recipe, str(text), **options
        )
    )


def weights(folder, name="1b"):
    return load_file(folder / name / "model.safetensors")


def equal(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )
