"""Trainings with sharded weights, for tests. As a script: in one of two processes on CPUs.

accelerate shards on GPUs only: the script has it believe that each process has one.
"""

import json
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from accelerate.state import DistributedType, PartialState
from small_training import RECIPE, KillAt, Killed, train
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from stepimp.training import muon
from stepimp.training.callbacks import EMA
from stepimp.training.judge import train_judge

RECIPE = replace(RECIPE, batch_size=2, snapshot_every=3)
JUDGE = dict(n_layer=1, n_embd=16, n_head=2, n_positions=16, dropout=0.0)


def newton_schulz(matrices):
    """`muon.orthogonalize` in float64: in bf16 it magnifies the last bit of a gradient."""
    x = matrices.double()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(muon.ITERATIONS):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.to(matrices.dtype)


def exact():
    return mock.patch.object(muon, "orthogonalize", newton_schulz)


def judge(folder, text, batch_size) -> dict:
    recipe = replace(RECIPE, batch_size=batch_size)
    return train_judge(folder, JUDGE, recipe, str(text), 262, 3)


class Shards(TrainerCallback):
    """Writes down how many numbers of the weights, their average and the optimizer's state there
    are, how many this process holds, and what its random draws are seeded with.
    """

    def __init__(self):
        self.averages, start = [], EMA.start
        EMA.start = lambda ema, checkpoint: (start(ema, checkpoint), self.averages.append(ema))

    def on_step_end(self, args, state, control, model, optimizer, **_):
        moments = [v for values in optimizer.state.values() for v in values.values() if v.ndim]
        tensors = [*model.parameters(), *self.averages[-1].average, *moments]
        held = (t.to_local() if isinstance(t, DTensor) else t for t in tensors)
        numbers = [sum(t.numel() for t in tensors), sum(t.numel() for t in held)]
        Path(f"shards.{args.process_index}").write_text(json.dumps(numbers))
        Path(f"seed.{args.process_index}").write_text(str(torch.initial_seed()))


def train_all(text):
    train(Path("whole"), text, [2], recipe=RECIPE, callbacks=[Shards()])
    train(Path("bf16"), text, [2], recipe=replace(RECIPE, bf16=True))
    judge(Path("judge"), text, 2)
    with suppress(Killed):
        train(Path("stopped"), text, [2], recipe=RECIPE, callbacks=[KillAt(5)])
    train(Path("stopped"), text, [2], recipe=RECIPE)
    os.environ["ACCELERATE_USE_FSDP"] = "false"
    train(Path("copies"), text, [2], recipe=RECIPE)
    train(Path("copies_bf16"), text, [2], recipe=replace(RECIPE, bf16=True))


def main(text):
    prepare, leave = PartialState._prepare_backend, PartialState.destroy_process_group

    def as_gpus(self, *args):
        backend, kind = prepare(self, *args)
        gpus = kind == DistributedType.MULTI_CPU and os.environ["ACCELERATE_USE_FSDP"] == "true"
        return backend, DistributedType.MULTI_GPU if gpus else kind

    PartialState._prepare_backend = as_gpus
    PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))
    PartialState.destroy_process_group = lambda self, group=None: None  # not between trainings
    with exact():
        train_all(text)
    leave(PartialState())


if __name__ == "__main__":
    main(sys.argv[1])
    # DTensor's caches keep the group and its threads, which can abort a process as it ends.
    os._exit(0)
