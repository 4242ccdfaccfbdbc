"""`--workers`: how many processes by default, and the processes that it starts."""

import json
import os
import signal
import subprocess
import sys
import time

import click
import pytest
from click.testing import CliRunner
from documents import call, only_document

from stepimp.commands import _errors, _workers, main
from stepimp.errors import StepimpError

PYTHON = sys.executable  # tests put a program of their own in its place
KNOWN = "import os, signal, sys, time\nrank = int(os.environ['RANK'])"
INTERRUPT = """
import os, signal, sys
from stepimp.commands._workers import launch
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.executable = sys.argv[1]
try:
    launch(["kl"], 2)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.fixture
def child(monkeypatch, tmp_path):
    """A function that puts a program of this source in the place of `python -m stepimp`."""

    def put(source):
        program = tmp_path / "python"
        program.write_text(f"#!{sys.executable}\n{KNOWN}\n{source}")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        return program

    return put


def wait_until(condition, process):
    """Waits until a process has made a condition true."""
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.01)


# ---- the launcher ----


def test_each_process_knows_its_rank_and_its_share_of_the_cores(child, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(_workers, "cores", lambda: 7)
    names = "('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'OMP_NUM_THREADS')"
    line = f"[os.environ[name] for name in {names}], sys.argv[1:]"
    child(f"open(f'{tmp_path}/{{rank}}', 'w').write(repr(({line})))")
    assert _workers.launch(["kl", "--seed", "1"], 3) == 0
    for rank in range(3):
        environment = [str(rank), str(rank), "3", "127.0.0.1", "2"]
        said = (tmp_path / str(rank)).read_text()
        assert said == repr((environment, ["-m", "stepimp", "kl", "--seed", "1"]))


def test_more_processes_than_a_machine_can_serve_are_refused(monkeypatch):
    monkeypatch.setattr(_workers, "launch", lambda *_: pytest.fail("started"))
    monkeypatch.setattr(_workers, "cores", lambda: 4)
    ended = call("kl", "--workers", "17", code=2)
    assert "'--workers': 17 processes on 4 cores" in ended.stderr
    assert "at most 16 here" in ended.stderr


def test_variables_left_over_from_another_launcher_do_not_reach_the_processes(
    child, tmp_path, monkeypatch
):
    left = {"RANK": "7", "WORLD_SIZE": "8", "MASTER_ADDR": "elsewhere"}
    for name, value in (left | {"TORCHELASTIC_USE_AGENT_STORE": "True"}).items():
        monkeypatch.setenv(name, value)
    names = "('WORLD_SIZE', 'MASTER_ADDR', 'TORCHELASTIC_USE_AGENT_STORE')"
    child(f"open(f'{tmp_path}/{{rank}}', 'w').write(repr([os.environ[name] for name in {names}]))")
    assert _workers.launch([], 2) == 0
    for rank in range(2):
        assert (tmp_path / str(rank)).read_text() == repr(["2", "127.0.0.1", "False"])


def test_the_exit_code_is_that_of_the_process_that_failed_itself(child):
    child(f"sys.exit([{_workers.LOST}, 3][rank])")
    assert _workers.launch([], 2) == 3


def test_a_killed_process_is_an_error_and_ends_the_others(child, tmp_path):
    child(
        f"open('{tmp_path}/pid', 'w').write(str(os.getpid())) if rank == 0 else time.sleep(0.5)\n"
        "os.kill(os.getpid(), signal.SIGKILL) if rank == 1 else time.sleep(60)"
    )
    with pytest.raises(StepimpError, match="Process 1 of 2 was ended by SIGKILL.*again"):
        _workers.launch([], 2)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_ctrl_c_ends_all_processes(child, tmp_path):
    program = child(f"open(f'{tmp_path}/{{rank}}', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    launcher = subprocess.Popen(
        [PYTHON, "-c", INTERRUPT, program], stdout=subprocess.PIPE, text=True
    )
    wait_until(lambda: all((tmp_path / str(rank)).exists() for rank in range(2)), launcher)
    time.sleep(0.05)
    launcher.send_signal(signal.SIGINT)
    stdout, _ = launcher.communicate(timeout=30)
    assert stdout == "interrupted\n"
    for rank in range(2):
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / str(rank)).read_text()), 0)


def test_a_process_ends_with_its_launcher():
    reading, writing = os.pipe()
    ended = []
    os.close(writing)
    _workers.watch(reading, lambda: ended.append(True))
    os.close(reading)
    assert ended


@pytest.mark.parametrize("rank, printed", [(0, "out"), (1, "")])
def test_the_first_process_alone_prints(monkeypatch, capsys, rank, printed):
    monkeypatch.setattr(_errors, "launched", lambda: (rank, 2))
    with _errors.first_process_prints():
        click.echo("out", nl=False)
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("rank", [0, 1])
def test_a_command_that_shares_no_work_runs_in_the_first_process_alone(monkeypatch, rank):
    variables = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 9}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    result = call("models")  # which would wait for the other one
    assert bool(result.output) == (rank == 0)
    assert ("WORLD_SIZE" in os.environ) == (rank == 1), "those it starts join no group"


# ---- how many ----


@pytest.fixture
def count(monkeypatch):
    """A function (*arguments) -> processes that a command starts; 1 where it runs itself."""
    monkeypatch.delenv("STEPIMP_WORKERS", raising=False)
    monkeypatch.setattr(_workers, "physical_cores", lambda: 4)
    monkeypatch.setattr(_workers, "on_gpu", lambda device: device.startswith("cuda"))
    asked = []
    monkeypatch.setattr(_workers, "launch", lambda arguments, count: asked.append(count) or 0)

    def run(*arguments):
        asked.clear()
        for command in main.commands.values():  # whatever is not started again runs nothing
            monkeypatch.setattr(command, "callback", alone(command.callback))
        assert CliRunner().invoke(main, [str(each) for each in arguments]).exit_code == 0
        return asked[0] if asked else 1

    return run


def alone(callback):
    """A command's callback that starts processes but does no work of its own."""
    if not hasattr(callback, "__wrapped__"):
        return callback
    return _workers.starts_again(lambda **options: None)


HUGE = ["--samples", "100000"]


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["kl"], 1),
        (["kl", "--sequences", "100000"], 4),
        (["generate", "--schedule", "H1000", *HUGE], 4),
        (["compare", "--samples", "4"], 1),
        (["compare", *HUGE], 4),
        (["search"], 4),
        (["cascade", "--sequences", "100000"], 4),
        (["search", "--workers", "1"], 1),
        (["compare", "--workers", "3"], 3),
        (["compare", *HUGE, "--device", "cuda"], 1),
        (["evaluate"], 1),
        (["compare", *HUGE, "--family", "/nowhere"], 1),
        (["compare", *HUGE, "--heavy", "/a/checkpoint"], 1),
    ],
)
def test_by_default_as_many_processes_as_pay_for_their_start(count, arguments, expected):
    assert count(*arguments) == expected


def test_commands_of_reproduce_start_none(count, monkeypatch):
    monkeypatch.setenv("STEPIMP_WORKERS", "1")
    assert count("compare", *HUGE) == 1


def test_a_process_that_was_started_starts_none(count, monkeypatch):
    monkeypatch.setenv(_workers.LAUNCHER, "9")
    monkeypatch.setattr("stepimp.commands.end_with_launcher", lambda: None)
    assert count("compare", *HUGE) == 1


def test_large_models_use_all_cores_themselves(count, monkeypatch):
    monkeypatch.setattr(_workers, "SMALL_MODEL", 100_000)
    assert count("compare", *HUGE) == 1


def test_hyperthreads_of_a_core_count_once(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3, 5})
    for core, siblings in enumerate(["0-1", "0-1", "2-3", "2-3", "4-5", "4-5"]):
        (tmp_path / str(core)).write_text(siblings)
    monkeypatch.setattr(_workers, "SIBLINGS", str(tmp_path) + "/{}")
    assert _workers.physical_cores() == 3 and _workers.cores() == 5


def test_every_heavy_command_has_the_option():
    shared = ["kl", "loss", "cascade", "compare", "generate", "evaluate", "profile", "search"]
    for name in shared:
        options = main.commands[name].params
        assert any(isinstance(each, click.Option) and each.name == "workers" for each in options)


# ---- real processes ----


def stepimp(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "stepimp", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_measurement_in_two_processes_whose_rank_is_killed(curve_options, tmp_path):
    """One clear line; then another number of processes continues to the same rows."""
    out, more = tmp_path / "results", ["--sequences", 300, "--batch-size", 1, "--points", 8]
    run = ["kl", *curve_options, *more, "--out", out]
    process = stepimp(*run, "--workers", 2)
    wait_until(lambda: len(list(out.glob("*.journal"))) == 2, process)
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    with open(children) as file:
        _, last = map(int, file.read().split())
    os.kill(last, signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1 and not stdout
    assert stderr.count("Error: ") == 1 and stderr.splitlines()[-1] == (
        "Error: Process 1 of 2 was ended by SIGKILL. Finished work is kept: run the same command "
        "again, with any number of processes, to continue."
    )
    kept = sum(len(file.read_bytes().splitlines()) - 1 for file in out.glob("*.journal"))
    assert 0 < kept < 300
    again = stepimp(*run, "--workers", 2, "--json")
    stdout, stderr = again.communicate(timeout=120)
    assert again.returncode == 0, stderr
    assert [file.suffix for file in out.iterdir()] == [".json"]
    call(*run, "--out", tmp_path / "alone", "--workers", 1)
    rows = only_document(tmp_path / "alone", "curves")["rows"]
    assert json.dumps(json.loads(stdout)["rows"]) == json.dumps(rows)
