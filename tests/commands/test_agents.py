"""Every command that shares its work, in processes of two machines: torchrun agents, and shells in
which RANK and WORLD_SIZE are set by hand.

Machines are folders here, each with results and a cache of its own.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from documents import call

from stepimp.documents import read_document

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
AGENT = """
import sys
from stepimp.commands import main

for line in open(sys.argv[1]):
    main(line.split(), standalone_mode=False)
"""
KILLED = """
import os, signal, sys, time
from stepimp.commands import main
from stepimp.journals import Journal

def add(journal, unit, result, add=Journal.add):
    add(journal, unit, result)
    if os.environ["RANK"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)

Journal.add = add
main(sys.argv[1:])
"""
PAIR = "--heavy 2b --light 1b"
SIZES = "--sequences 4 --points 3 --length 8 --batch-size 1"
SHARED = f"""
kl {PAIR} --baseline 2b_seed2 {SIZES}
kl {PAIR} {SIZES} --by-masked
loss {PAIR} {SIZES}
cascade {PAIR} {SIZES}
recommend --steps 8
generate {PAIR} --schedule L2,H2 --samples 4 --length 8 --batch-size 1
evaluate --batch-size 2
compare {PAIR} --samples 4 --steps 8 --length 8 --batch-size 1
compare --policies {PAIR} --samples 2 --steps 8 --sequences 2 --batch-size 1
profile {PAIR} --samples 1 --steps 4 --points 2 --repeats 2 --length 8
search {PAIR} --segments 2 --light-segments 1 --steps 6 --samples 4 --chunk 2 --length 8
""".strip().splitlines()
SMALL = "--steps 2 --batch-size 2 --save-every 1 --vocab-size 280"
TRAINED = f"""
judge family {SMALL} --layers 1 --width 16 --heads 1 --context 16
train family {SMALL} --depths 1 --width 16 --heads 1 --length 16
""".strip().splitlines()
TIMED = ("seconds", "saved_seconds", "share", "outside_share", "speedup", "tokens_per_second")


@pytest.fixture
def environment(tiny_family):
    """The environment of each process, by rank."""
    port = free_port()
    left = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK")
    common = {name: value for name, value in os.environ.items() if name not in left}
    common |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "MASTER_ADDR": "127.0.0.1"}
    common |= {"STEPIMP_FAMILY": str(tiny_family), "MASTER_PORT": port, "WORLD_SIZE": "2"}

    def of(rank, folder):
        own = {"RANK": str(rank), "STEPIMP_RESULTS": str(folder / "results")}
        return common | own | {"STEPIMP_CACHE": str(folder / "cache")}

    return of


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def run_two(commands, environment, folders):
    """(exit code, stdout, stderr) of two processes that run at once, each in a folder."""
    processes = [
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment(rank, folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, (command, folder) in enumerate(zip(commands, folders))
    ]
    said = [process.communicate(timeout=300) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, said)]


@pytest.fixture
def machines(tmp_path):
    """The folders of two machines, in which there is a family to train."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        (folder / "family").mkdir(parents=True)
    return folders


def files_of(folder):
    return sorted(file.name for file in folder.rglob("*") if file.is_file())


def rows_in(folder):
    """The rows of each document of a results folder, without what is timed."""
    return {
        file.name: [
            {name: value for name, value in row.items() if not name.startswith(TIMED)}
            for row in read_document(file)["rows"]
        ]
        for file in folder.glob("*.json")
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory, tiny_family, tiny_text):
    """The results folder of one process."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPIMP_RESULTS", str(folder))
        patch.setenv("STEPIMP_FAMILY", str(tiny_family))
        for line in lines_on(tiny_text, SHARED):
            call(*line.split())
    return folder


def lines_on(text, lines):
    """The command lines with the text that they measure or train on."""
    named = ("--sequences 4", "family")
    return [
        f"{line} --data {text}" if any(map(line.__contains__, named)) else line for line in lines
    ]


def test_two_agents_do_what_one_process_does(machines, environment, tiny_text, tmp_path, alone):
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "lines").write_text("\n".join(lines_on(tiny_text, SHARED + TRAINED)))
    agent = [*TORCHRUN, "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{free_port()}"]
    command = [*agent, str(tmp_path / "agent.py"), str(tmp_path / "lines")]
    ended = run_two([command] * 2, without_rank(environment), machines)
    assert [code for code, *_ in ended] == [0, 0], "".join(err for *_, err in ended)
    # Which agent has process 0 is settled when they meet: the one that prints.
    printed = [bool(out) for _, out, _ in ended]
    assert sorted(printed) == [False, True]
    leader, other = machines if printed[0] else reversed(machines)
    assert rows_in(leader / "results") == rows_in(alone)
    assert files_of(leader / "results") == files_of(alone)
    trained = {"family.json", "recipe.json", "model.safetensors"}
    assert trained <= set(files_of(leader / "family"))
    left = [*leader.glob("family/.*"), *leader.glob("family/*.training")]
    assert not left, "locks and checkpoints"
    assert not files_of(other / "results") and not files_of(other / "family")


def test_a_process_that_is_killed_ends_the_other_and_another_number_continues(
    machines, environment, monkeypatch, alone
):
    """The first one, which has the store that all processes count their work in."""
    (line,) = (line for line in SHARED if line.startswith("search"))
    folder = machines[0]
    (folder / "results").mkdir()
    for file in alone.glob("curves-*.json"):  # which the search would measure
        shutil.copy(file, folder / "results")
    command = [sys.executable, "-c", KILLED, *line.split()]
    ended = run_two([command] * 2, environment, [folder] * 2)
    codes, _, said = zip(*ended)
    assert codes == (-signal.SIGKILL, 1), said
    assert "Another process of this run has ended early. Finished work is kept" in said[1]
    assert "bug in stepimp" not in said[1]
    assert list(folder.glob("results/*.journal"))
    monkeypatch.setenv("STEPIMP_RESULTS", str(folder / "results"))
    monkeypatch.setenv("STEPIMP_FAMILY", environment(0, folder)["STEPIMP_FAMILY"])
    call(*line.split())
    (name,) = (file.name for file in folder.glob("results/search-*"))
    assert rows_in(folder / "results")[name] == rows_in(alone)[name]


def test_processes_that_would_do_other_work_are_told_so(machines, environment):
    lines = [f"kl {PAIR} {SIZES} --seed {rank}".split() for rank in (0, 1)]
    commands = [[sys.executable, "-m", "stepimp", *line] for line in lines]
    for code, printed, said in run_two(commands, environment, machines):
        assert code == 1 and not printed
        assert "Process 1 (on" in said and "--seed is 1 there, not 0." in said
    assert not any(files_of(folder / "results") for folder in machines)


def without_rank(environment):
    """The environment of agents, which set the rank themselves."""

    def of(rank, folder):
        own = environment(rank, folder)
        return {name: own[name] for name in own if name not in ("RANK", "WORLD_SIZE")}

    return of
