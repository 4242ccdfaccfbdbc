"""`stepimp reproduce`: which commands it runs, which not again, and what it does when one fails."""

import io
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from by_hand import comparison, write
from click.testing import CliRunner
from rich.console import Console

from stepimp.commands import _progress, main, reproduce
from stepimp.commands._work import work
from stepimp.commands.reproduce import plan
from stepimp.models.family import family_folder
from stepimp.paper.needs import NEEDS

FORWARDS = 4 * (1 - (1 - 1 / 4) ** 8)  # of a sample of 8 tokens in 4 steps


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """The command lines that would run; each leaves a document, unless its command is in
    `failing`.
    """
    lines = []

    def run(arguments, results, step):
        lines.append(arguments)
        with step:
            pass
        if arguments[0] in ran.failing:
            return 1
        content = comparison(prefix_length=16 if "--prefix-length" in arguments else 0)
        content["command"], content["provenance"]["command_line"] = (
            arguments[0],
            " ".join(["__main__.py", *arguments]),
        )
        write(Path(results), content, str(len(lines)))
        return 0

    def ran():
        done, lines[:] = list(lines), []
        return done

    ran.failing = ()
    monkeypatch.setattr(reproduce, "run", run)
    monkeypatch.setattr("stepimp.commands.figures.make", lambda name, *_: (None, [name]))
    monkeypatch.setattr("stepimp.commands.figures.write_report", lambda *_: "report.html")
    monkeypatch.setattr("stepimp.paper.claims.claims", lambda documents: [])
    return ran


def call(tmp_path, *options):
    folders = ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "figures")]
    return CliRunner().invoke(main, ["reproduce", *folders, *options])


def test_each_need_has_its_step_and_a_second_call_only_draws(tmp_path, ran):
    first = call(tmp_path)
    assert first.exit_code == 0, first.output
    commands = [arguments for arguments, _ in plan("quick", None)]
    assert ran() == commands
    assert [one[0] for one in commands] == [
        kind for need, (kind, _) in NEEDS.items() if has_family(need)
    ]
    again = call(tmp_path)
    assert again.exit_code == 0 and ran() == []
    assert (
        f"Step 1 of {len(commands)} is there: stepimp loss" in again.stderr
        and "figure1: figure1" in again.stdout
    )


def has_family(need):
    return need != "lm1b" or (family_folder("code") / "family.json").exists()


def test_another_scale_is_another_measurement(tmp_path, ran):
    call(tmp_path)
    ran()
    call(tmp_path, "--scale", "full")
    assert ran() == [arguments for arguments, _ in plan("full", None)]


def test_what_is_older_than_the_family_is_made_anew(tmp_path, ran):
    call(tmp_path)
    ran()
    trained = (family_folder() / "family.json").stat().st_mtime
    (old,) = (tmp_path / "results").glob("search-*.json")
    os.utime(old, (trained - 1, trained - 1))
    call(tmp_path)
    assert [arguments[0] for arguments in ran()] == ["search"]


def test_a_failed_step_does_not_stop_the_others_and_is_told(tmp_path, ran):
    ran.failing = ("search",)
    result = call(tmp_path)
    assert (
        result.exit_code == 1
        and "Failed: stepimp search" in result.stderr
        and "Traceback" not in result.output
    )
    assert len(ran()) == len(plan("quick", None)) and "figure1: figure1" in result.stdout
    ran.failing = ()
    assert call(tmp_path).exit_code == 0
    assert [arguments[0] for arguments in ran()] == ["search"]


def test_a_folder_without_a_family_is_one_line(tmp_path, ran):
    result = call(tmp_path, "--family", str(tmp_path / "none"))
    assert result.exit_code == 1 and "holds no family" in result.stderr and ran() == []


@pytest.mark.parametrize("scale", ["quick", "full"])
def test_every_step_parses_and_the_full_scale_is_the_papers(scale):
    steps = {}
    for arguments, _ in plan(scale, None):
        command, *options = arguments
        steps.setdefault(command, []).append(
            main.commands[command].make_context(command, options).params
        )
    if scale == "full":
        assert {one["samples"] for one in steps["compare"]} == {1600} and steps["search"][0][
            "samples"
        ] == 160
        assert {one["sequences"] for kind in ("loss", "kl") for one in steps[kind]} == {500}
        assert {one["steps"] for one in steps["compare"]} <= {1000, 128} and steps["search"][0][
            "steps"
        ] == 1000
    assert {one["prefix_length"] for one in steps["compare"]} == {0, 16, 8}


def test_the_lm1b_role_has_its_own_family_and_steps(tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "family.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    (arguments,) = [one for one, _ in plan("full", None) if "code" in one]
    assert arguments == ["compare", "--samples", "1600", "--steps", "128", "--family", "code"]


TINY = [
    "loss",
    "--heavy",
    "2b",
    "--light",
    "1b",
    "--sequences",
    "6",
    "--batch-size",
    "2",
    "--points",
    "2",
]


def test_a_family_in_both_roles_is_measured_once(tiny_family, tmp_path, monkeypatch):
    (tmp_path / "code").symlink_to(tiny_family)
    monkeypatch.chdir(tmp_path)
    lines = [arguments for arguments, _ in plan("quick", "code")]
    assert (
        len(
            [
                one
                for one in lines
                if one == ["compare", "--steps", "100", "--samples", "16", "--family", "code"]
            ]
        )
        == 1
    )


def test_a_real_command_reports_its_progress_and_leaves_what_says_that_it_is_there(
    tmp_path, tiny_family, tiny_text, monkeypatch, capsys
):
    monkeypatch.setenv("STEPIMP_FAMILY", "/nowhere")  # the command line alone says what it is of
    arguments, moves = [*TINY, "--data", str(tiny_text), "--family", str(tiny_family)], []
    assert not reproduce.is_there(tmp_path, arguments, tiny_family)
    assert reproduce.run(arguments, tmp_path, nullcontext(lambda *move: moves.append(move))) == 0
    assert moves == [(2, 6), (4, 6), (6, 6)]
    shown = capsys.readouterr()
    assert "6 sequences -> " in shown.out and not shown.err
    assert reproduce.is_there(tmp_path, arguments, tiny_family)
    assert not reproduce.is_there(tmp_path, [*arguments, "--seed", "1"], tiny_family)


def child(monkeypatch, tmp_path, source):
    """Puts a program of this source in the place of `python`."""
    program = tmp_path / "python"
    known = "import os, signal, sys, time\npipe = int(os.environ['STEPIMP_PROGRESS'])"
    program.write_text(f"#!{sys.executable}\n{known}\n{source}")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def test_a_command_that_dies_keeps_its_last_words_and_its_share(monkeypatch, tmp_path, capsys):
    words = "print('out', flush=True); print('err', file=sys.stderr, flush=True)"
    child(
        monkeypatch,
        tmp_path,
        f"os.write(pipe, b'1 4\\n'); {words}; os.kill(os.getpid(), signal.SIGKILL)",
    )
    moves = []
    assert (
        reproduce.run([], tmp_path, nullcontext(lambda *move: moves.append(move)))
        == -signal.SIGKILL
    )
    assert moves == [(1, 4)] and capsys.readouterr() == ("out\n", "err\n")


def test_an_interrupt_ends_the_command_and_says_nothing_of_it(monkeypatch, tmp_path, capfd):
    child(
        monkeypatch,
        tmp_path,
        "os.write(pipe, f'{os.getpid()} 4\\n'.encode()); print('x', flush=True); time.sleep(60)",
    )
    moves = []

    def interrupt(*move):
        moves.append(move)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce.run([], tmp_path, nullcontext(interrupt))
    with pytest.raises(ProcessLookupError):
        os.kill(moves[0][0], 0)
    assert capfd.readouterr() == ("", "")


def test_where_nobody_reads_progress_is_no_reason_to_stop(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setenv("STEPIMP_PROGRESS", str(writing))
    with _progress.progress("texts") as moved:
        moved(1, 2)
    os.close(writing)


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 100 columns, as far as progress knows; what it was sent."""
    screen = io.StringIO()
    monkeypatch.setattr(_progress, "stderr", Console(file=screen, force_terminal=True, width=100))
    return screen


def test_the_bar_is_over_all_steps_by_their_work(terminal):
    overall = _progress.Overall(8)
    (task,) = overall.bar.tasks
    with overall.step("Step 1 of 2: stepimp loss", 6) as moved:
        moved(1, 2)
        assert task.completed == 3
        task.start_time -= 30
        overall.bar.refresh()
        assert str(_progress.TimeLeft().render(task)) == "0:00:50 left", "30 s for 3 of 8"
    assert task.completed == 6, "a step that has ended is done, whatever it said"
    with overall.step("Step 2 of 2: stepimp kl", 2):
        pass
    assert task.finished
    shown = terminal.getvalue()
    assert all(
        part in shown
        for part in (
            "Step 1 of 2: stepimp loss",
            " 38%",
            "Step 2 of 2: stepimp kl",
            " 75%",
            " left",
        )
    )


def test_before_anything_is_done_no_time_is_told(terminal):
    (task,) = _progress.Overall(1).bar.tasks
    assert str(_progress.TimeLeft().render(task)) == "-:--:-- left"


def test_on_a_terminal_there_is_the_bar_alone(tmp_path, ran, terminal):
    result = call(tmp_path)
    assert result.exit_code == 0 and not result.stderr and "Step 2 of" in terminal.getvalue()
    terminal.truncate(0)
    assert not call(tmp_path).stderr and "Step" not in terminal.getvalue(), (
        "what is there is no step"
    )


def test_elsewhere_there_is_a_line_per_step(tmp_path, ran):
    steps = [" ".join(["stepimp", *arguments]) for arguments, _ in plan("quick", None)]
    lines = [f"Step {number} of {len(steps)}: {line}" for number, line in enumerate(steps, 1)]
    assert call(tmp_path).stderr.splitlines() == lines


BLOCKS = {"12b": 12, "4b": 4, "12b_seed2": 12}


@pytest.mark.parametrize(
    "command, blocks_of_each_token",
    [
        ("loss --sequences 10 --points 3", 10 * 3 * (12 + 4)),
        ("kl --sequences 10 --points 3 --baseline 12b_seed2", 10 * 3 * (12 + 4 + 12)),
        ("recommend", 0),
        (
            "compare --samples 5 --steps 4",
            5 * FORWARDS * (12 + 4 * 10 + 4),
        ),  # the sandwich is the first quarter at T = 4
        ("compare --samples 5 --steps 4 --fractions 0:1:0.5", 5 * FORWARDS * (12 + 8 + 4)),
        ("compare --samples 5 --steps 4 --schedule L1,H3", 5 * FORWARDS * (12 + 10)),
        ("search --samples 5 --steps 4 --segments 2 --light-segments 1", 5 * FORWARDS * 2 * 8),
        (
            "profile --samples 5 --steps 4 --points 3 --repeats 2",
            5 * FORWARDS * 2 * (12 + 12 + 8 + 4),
        ),
    ],
)
def test_the_work_of_a_command_is_tokens_times_blocks(command, blocks_of_each_token):
    assert work(command.split(), BLOCKS, 8) == pytest.approx(8 * blocks_of_each_token)


def test_given_tokens_are_less_work_and_a_length_of_its_own_counts():
    assert work(["compare", "--prefix-length", "4"], BLOCKS, 8) < work(["compare"], BLOCKS, 8)
    assert work(["search", "--length", "4"], BLOCKS, 8) == work(["search"], BLOCKS, 4)


def test_a_model_that_the_family_has_not_is_left_to_the_command(tiny_family):
    unknown = ["compare", "--heavy", "12b"]
    assert reproduce.expected(unknown, tiny_family) == 0 < reproduce.expected(TINY, tiny_family)
