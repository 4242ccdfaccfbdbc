import shutil
import subprocess
import sys

import pytest

# Handlers run last in, first out: the first one sees what the group's own has left. The system may
# list a thread for a moment after it has been joined.
SCRIPT = """
import atexit, os, time

def threads():
    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            names.append(open(f"/proc/self/task/{task}/comm").read())
        except OSError:
            pass
    return [name for name in names if "gloo" in name]

@atexit.register
def count():
    end = time.monotonic() + 5
    while threads() and time.monotonic() < end:
        time.sleep(0.01)
    with open(f"left.{processes.rank}", "w") as file:
        print(threads(), file=file)

from stepimp.processes import Processes
processes = Processes()
assert processes.gather({processes.rank: processes.part([10, 20])}) == {0: [10], 1: [20]}
assert threads()
import torch.distributed.nn
"""


TRAINING = """
import os
from stepimp.training import family, judge, trainer
from stepimp.training.recipe import Recipe

def noted(path, text, write=trainer.write_atomically):
    with open(f"written.{os.environ['RANK']}", "a") as file:
        print(path.name, file=file)
    write(path, text)

trainer.write_atomically = judge.write_atomically = noted
rates = dict(batch_size=2, muon_lr=0.02, adamw_lr=0.01, warmup=2, ema=0.8)
recipe = Recipe(**rates, steps=3, save_every=2)
"""
FAMILY = """
shape = dict(model_length=16, hidden_dim=16, cond_dim=4, n_heads=2, dropout=0.0, noise="linear")
list(family.train_family("family", [1], 3, None, shape, recipe, "text.txt", vocab_size=262))
"""
JUDGE = """
shape = dict(n_layer=1, n_embd=16, n_head=2, n_positions=16, dropout=0.0)
judge.train_judge("family", shape, recipe, "text.txt", 262, 3)
"""


def run_two(script: str, folder):
    """Runs a script in a folder as two processes under torchrun."""
    (folder / "script.py").write_text(script)
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    result = subprocess.run(
        [*torchrun, "script.py"], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr


def test_no_thread_of_the_group_outlives_it(tmp_path):
    """A thread that lets go of a tensor after the interpreter has ended aborts the process."""
    run_two(SCRIPT, tmp_path)
    assert [(tmp_path / f"left.{rank}").read_text() for rank in (0, 1)] == ["[]\n", "[]\n"]


@pytest.mark.parametrize("what", [FAMILY, JUDGE], ids=["family", "judge"])
def test_one_of_two_processes_that_train_writes_files(tmp_path, tiny_text, what):
    shutil.copy(tiny_text, tmp_path / "text.txt")
    run_two(TRAINING + what, tmp_path)
    assert (
        "training.json" in (tmp_path / "written.0").read_text()
        and not (tmp_path / "written.1").exists()
    )
