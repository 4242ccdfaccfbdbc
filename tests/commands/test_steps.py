"""Commands in processes of their own: several at once, in order, and none left behind."""

import os
import signal
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from stepimp.commands import main, reproduce
from stepimp.commands._edition import Edition
from stepimp.commands._steps import Ended, Step, elapsed, ready, run_steps

KNOWN = "import os, signal, sys, time\npipe = int(os.environ['STEPIMP_PROGRESS'])"


@pytest.fixture
def child(monkeypatch, tmp_path):
    """A function that puts a program of this source in the place of `python -m stepimp`."""

    def put(source):
        program = tmp_path / "python"
        program.write_text(f"#!{sys.executable}\n{KNOWN}\n{source}")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))

    return put


def step(*arguments, needs=(), reads=()):
    return Step(arguments, Path("family"), tuple(needs), frozenset(reads))


def run(
    steps, tmp_path, workers=1, report=lambda step, done, total: None, started=lambda step: None
):
    return list(run_steps(steps, workers, tmp_path, started, report))


def test_a_command_that_dies_keeps_its_last_words_and_its_share(child, tmp_path):
    words = "print('out', flush=True); print('err', file=sys.stderr, flush=True)"
    child(f"os.write(pipe, b'1 4\\n'); {words}; os.kill(os.getpid(), signal.SIGKILL)")
    moves = []
    (ended,) = run([step()], tmp_path, report=lambda step, *move: moves.append(move))
    assert (ended.code, ended.output, ended.errors) == (-signal.SIGKILL, "out\n", "err\n")
    assert moves == [(1, 4)]


def test_a_command_knows_its_results_and_no_family_but_its_own(child, tmp_path, monkeypatch):
    monkeypatch.setenv("STEPIMP_FAMILY", "/nowhere")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    names = "('STEPIMP_RESULTS', 'STEPIMP_FAMILY', 'OMP_NUM_THREADS')"
    child(f"print(*sys.argv[1:], [os.environ.get(name) for name in {names}])")
    (alone,) = run([step("kl", "--seed", "1")], tmp_path)
    assert alone.output == f"-m stepimp kl --seed 1 ['{tmp_path}', None, None]\n"
    (beside,) = run([step("kl")], tmp_path, workers=2)
    assert beside.output.endswith("None, '1']\n"), "one thread where several run"


# Says its name and waits until as many as its second argument run.
TOGETHER = """
folder = os.environ["STEPIMP_RESULTS"]
name, together = sys.argv[3:5]
open(f"{folder}/{name}", "w").close()
end = time.time() + 20
while len(os.listdir(folder)) < int(together):
    if time.time() > end: sys.exit(1)
    time.sleep(0.01)
"""


def test_as_many_run_at_once_as_there_are_workers(child, tmp_path):
    child(TOGETHER)
    folder = tmp_path / "results"
    folder.mkdir()
    both = run([step("a", "2"), step("b", "2")], folder, workers=2)
    assert [ended.code for ended in both] == [0, 0]


def test_one_worker_runs_one_after_the_other(child, tmp_path):
    child("print(len(os.listdir(os.environ['STEPIMP_RESULTS'])))")
    running, most = set(), []

    def started(step):
        running.add(step)
        most.append(len(running))

    for ended in run_steps([step(name) for name in "abc"], 1, tmp_path, started, lambda *_: None):
        running.remove(ended.step)
    assert most == [1, 1, 1]


def test_a_step_waits_for_what_it_reads_and_for_nothing_else():
    kl, advice = step("kl", needs=["kl"]), step("recommend", needs=["recommend"], reads=["kl"])
    compare, search = step("compare", reads=["recommend"]), step("search", reads=["kl"])
    assert ready([kl, advice, compare, search], []) == [kl]
    assert ready([advice, compare, search], []) == [advice, search]
    assert ready([compare], []) == [compare], "what is not to be made is not waited for"


def test_the_time_that_steps_take_several_at_once():
    kl, recommend = step("kl", needs=["kl"]), step("recommend", needs=["recommend"], reads=["kl"])
    search, compare = step("search", reads=["kl"]), step("compare", reads=["recommend"])
    profile = step("profile")
    steps, seconds = [kl, recommend, profile, search, compare], [5, 1, 2, 4, 3]
    assert elapsed(steps, seconds, 1) == sum(seconds)
    assert elapsed(steps, seconds, 2) == 5 + 1 + 3, "search beside recommend and compare"
    assert elapsed(steps, seconds, 5) == 5 + max(1 + 3, 4)
    assert elapsed([recommend, compare], [1, 3], 9) == 4, "kl is there"
    assert elapsed([], [], 1) == 0


def test_a_step_starts_after_what_it_reads_has_ended(child, tmp_path):
    child("time.sleep(0.3) if 'kl' in sys.argv else None")
    started, ended_after = [], []
    steps = [step("search", reads=["kl"]), step("kl", needs=["kl"])]
    for _ in run_steps(steps, 2, tmp_path, started.append, lambda *_: None):
        ended_after.append([step.arguments[0] for step in started])
    assert ended_after == [["kl"], ["kl", "search"]]


def test_an_interrupt_ends_all_commands_and_says_nothing_of_them(child, tmp_path, capfd):
    child("os.write(pipe, f'{os.getpid()} 4\\n'.encode()); print('x', flush=True); time.sleep(60)")
    running = []

    def report(step, process, total):
        running.append(process)
        if len(running) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([step("a"), step("b")], tmp_path, 2, report)
    for process in running:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    assert capfd.readouterr() == ("", "")


def test_an_interrupt_while_figures_are_drawn_ends_what_still_runs(tmp_path, monkeypatch):
    ended = []

    def run_steps(open_steps, *rest):
        try:
            yield Ended(open_steps[0], 0, "", "")
        finally:
            ended.append("the others")

    def interrupted(edition, documents, needs=None):
        if needs is not None:
            raise KeyboardInterrupt

    monkeypatch.setattr("stepimp.commands._steps.run_steps", run_steps)
    monkeypatch.setattr(reproduce, "draw", interrupted)
    monkeypatch.setattr(Edition, "write_report", lambda edition: None)
    arguments = ["reproduce", "--results", str(tmp_path), "--out", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    # The result holds the exception, and so the frames that hold the generator.
    assert result.exit_code == 130 and ended == ["the others"]


TINY = ("loss", "--heavy", "2b", "--light", "1b", "--sequences", "6", "--batch-size", "2")
TINY += ("--points", "2")


def test_a_real_command_reports_its_progress(tmp_path, tiny_family, tiny_text):
    arguments = (*TINY, "--data", str(tiny_text), "--family", str(tiny_family))
    moves = []
    (ended,) = run([step(*arguments)], tmp_path, report=lambda step, *move: moves.append(move))
    assert ended.code == 0 and "6 sequences -> " in ended.output
    assert moves[-1] == (6, 6) and set(moves) <= {(0, 6), (2, 6), (4, 6), (6, 6)}
