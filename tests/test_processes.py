import _thread
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from datetime import timedelta
from types import SimpleNamespace
from unittest import mock

import pytest
from torch.distributed import DistNetworkError, TCPStore

from stepimp import launcher, processes
from stepimp.errors import StepimpError

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
assert processes.gather({processes.rank: 10 * processes.rank}) == {0: 0, 1: 10}
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


LAUNCHED = {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}
SLURM = {"SLURM_PROCID": "1", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}


@pytest.fixture
def environment(monkeypatch):
    """A function that sets a launcher's variables, and only those."""
    processes.forget_leftovers.cache_clear()
    for name in (*LAUNCHED, *SLURM, "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)

    def set_variables(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    yield set_variables
    processes.forget_leftovers.cache_clear()


def test_a_launcher_says_which_process_this_is(environment):
    assert processes.launched() == (0, 1)
    environment(**LAUNCHED)
    assert processes.launched() == (1, 3)


@pytest.mark.parametrize("left", [{"RANK": "2"}, {"WORLD_SIZE": "4"}, {"WORLD_SIZE": "no number"}])
def test_variables_without_a_launcher_do_not_count(environment, caplog, left):
    environment(**left, LOCAL_RANK="2")
    caplog.set_level("WARNING", "stepimp")
    alone = processes.Processes()
    assert (alone.rank, alone.count) == (0, 1) and alone.gather({1: 2}) == {1: 2}
    if "WORLD_SIZE" in left:
        (message,) = caplog.messages
        assert left["WORLD_SIZE"] in message and "no other process is joined" in message
        assert "LOCAL_RANK" not in os.environ, "transformers takes it at its word"


@pytest.mark.parametrize(
    "wrong", [{"RANK": "3"}, {"RANK": ""}, {"WORLD_SIZE": "x"}, {"RANK": "-1"}]
)
def test_variables_that_contradict_each_other_are_named(environment, wrong):
    environment(**LAUNCHED | wrong)
    with pytest.raises(StepimpError, match="RANK=.*WORLD_SIZE=.*unset them"):
        processes.Processes()


def test_tasks_of_srun_without_torchrun_are_refused_once(environment):
    environment(**SLURM)
    with pytest.raises(StepimpError, match="as 4 tasks.*torchrun.*unset SLURM_STEP_NUM_TASKS"):
        processes.Processes()
    assert processes.said_before("refused")
    environment(SLURM_PROCID="0")
    assert not processes.said_before("refused")


@pytest.mark.parametrize("shell", [{"SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_STEP_NUM_TASKS": ""}])
def test_a_shell_of_a_slurm_allocation_is_one_process(environment, shell):
    environment(**SLURM | shell)
    alone = processes.Processes()
    assert (alone.rank, alone.count) == (0, 1)


def test_torchrun_under_srun_says_which_process_this_is(environment):
    environment(**SLURM, **LAUNCHED)
    assert processes.bare_tasks() == 1 and processes.launched() == (1, 3)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_processes_that_do_not_come_are_not_waited_for_without_end(environment, monkeypatch, rank):
    """Of rank 0 nobody arrives; for others nobody listens."""
    monkeypatch.setattr(processes, "ARRIVAL", timedelta(seconds=1))
    environment(**LAUNCHED | {"RANK": rank, "MASTER_PORT": free_port()})
    with pytest.raises(StepimpError, match=f"Process {rank} of 3 cannot join the others at 127"):
        processes.Processes()


def test_another_program_at_the_port_is_not_waited_for_without_end(environment, monkeypatch):
    monkeypatch.setattr(processes, "ARRIVAL", timedelta(seconds=0.1))
    monkeypatch.setattr(processes, "MARGIN", timedelta(seconds=0.1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment(**LAUNCHED | {"MASTER_PORT": str(silent.getsockname()[1])})
        with pytest.raises(StepimpError, match="cannot join.*nothing there answers as a process"):
            processes.Processes()


def test_ctrl_c_is_heard_while_others_are_waited_for():
    waits = threading.Event()
    threading.Timer(0.05, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        processes.interruptible(waits.wait, timedelta(minutes=1))
    waits.set()


def test_two_processes_of_one_rank_are_refused(environment):
    environment(**LAUNCHED | {"MASTER_PORT": free_port()})
    port = int(os.environ["MASTER_PORT"])
    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    store.add("stepimp/arrived/1", 1)
    with pytest.raises(StepimpError, match="cannot join.*another one has RANK=1 as well"):
        processes.Processes()


def test_a_message_is_said_once_and_a_consequence_only_if_nothing_else_was(monkeypatch):
    sums = Counter()

    def add(name, amount):
        sums[name] += amount
        return sums[name]

    group = SimpleNamespace(store=SimpleNamespace(add=add))
    joined = mock.Mock(return_value=group, **{"cache_info.return_value.currsize": 1})
    monkeypatch.setattr(processes, "join", joined)
    said = processes.said_before
    assert [said("no model"), said("no model"), said("another process ended", True)] == [0, 1, 1]
    assert [said("full disk"), said("full disk")] == [0, 1]
    monkeypatch.setenv("GROUP_RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert [said("full disk"), said("full disk")] == [0, 1], "once on each machine"
    sums.clear()
    assert [said("interrupted", True), said("interrupted", True)] == [0, 1]


def test_machines_and_shells_are_told_apart(environment):
    environment(**LAUNCHED)
    by_hand = launcher.machine()
    environment(RANK="2")
    assert launcher.machine() != by_hand, "each in a shell of its own"
    environment(LOCAL_RANK="0", GROUP_RANK="1")
    launched = launcher.machine()
    environment(LOCAL_RANK="1", RANK="3")
    assert launcher.machine() == launched
    environment(GROUP_RANK="0")
    assert launcher.machine() != launched


def test_a_process_that_leaves_joins_no_group(environment):
    environment(**LAUNCHED)
    launcher.leave_others()
    assert processes.launched() == (0, 1) and "MASTER_ADDR" not in os.environ


@pytest.mark.parametrize(
    "error, lost",
    [
        (DistNetworkError("failed to recv, got 0 bytes"), True),
        (
            RuntimeError("[/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed"),
            True,
        ),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_a_lost_connection_is_told_from_other_errors(error, lost):
    raised = pytest.raises(processes.LostProcess if lost else RuntimeError)
    with raised as caught, processes.loss_explained():
        raise error
    assert lost or caught.value is error


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


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
