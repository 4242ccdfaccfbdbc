import errno
import json
import os
import re
import signal
import subprocess
import sys
import time

import click
import pytest
from click.testing import CliRunner

from stepimp import __version__
from stepimp.commands import main
from stepimp.commands._errors import Terminated

NAMES = sorted(main.commands)


@pytest.fixture
def run(tiny_family, monkeypatch):
    """A function (*arguments) -> the result of the command, on the tiny family."""
    monkeypatch.setenv("STEPIMP_FAMILY", str(tiny_family))
    return lambda *arguments: CliRunner().invoke(
        main, [str(one) for one in arguments], prog_name="stepimp"
    )


@pytest.mark.parametrize("name", NAMES)
def test_each_command_has_help_with_an_example_of_itself(run, name):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert re.search(rf"Example:\n +stepimp {name}\b", result.stdout), (
        f"end the help in commands/{name}.py with \\b, Example: and a line `stepimp {name} ...`"
    )
    assert len(main.commands[name].help.splitlines()[0]) > 20, "say in a line what it does"
    assert max(map(len, result.stdout.splitlines())) <= 80, "break the lines after \\b earlier"


@pytest.mark.parametrize("name", NAMES)
def test_each_option_is_explained(name):
    options = [
        parameter for parameter in main.commands[name].params if isinstance(parameter, click.Option)
    ]
    assert [option.name for option in options if not option.help] == []


def test_help_lists_all_commands_and_one_line_for_each(run):
    for arguments in (["--help"], ["-h"]):
        text = run(*arguments).stdout
        assert all(re.search(rf"^  {name} +\w", text, re.MULTILINE) for name in NAMES)
        assert "..." not in text.replace("[ARGS]...", "")  # no line is cut


def test_the_version(run):
    assert run("--version").stdout.strip() == f"stepimp, version {__version__}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["kl", "--nothing"],
        ["kl", "--sequences", "1"],
        ["recommend", "--budget", "1.5"],
        ["train"],
        ["recommend", "--steps", "0"],
        ["loss", "--dtype", "int8"],
        ["generate", "--seed", "-1"],
    ],
)
def test_bad_usage_is_exit_code_2(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage: stepimp" in result.stderr and not result.stdout


def test_models_lists_the_members(run):
    result = run("models")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()[2:]] == ["1b", "2b", "2b_seed2"]


def test_models_as_json_and_nothing_else(run):
    result = run("models", "--json")
    rows = json.loads(result.stdout)
    assert [row["name"] for row in rows] == ["1b", "2b", "2b_seed2"] and not result.stderr
    assert rows[0].keys() == {
        "name",
        "blocks",
        "seed",
        "heldout_nelbo_nats",
        "parameters",
        "fingerprint",
        "layout",
        "block_flops",
        "checkpoint",
    }


@pytest.mark.parametrize("depths", ["", "0", "4,x", "-1", "4,,6"])
def test_depths_are_block_counts(run, tmp_path, depths):
    result = run("train", tmp_path, "--depths", depths)
    assert result.exit_code == 2 and "list of block counts such as 4,6,8,10,12" in result.stderr


@pytest.mark.parametrize(
    "options, message",
    [
        (["--width", 20, "--heads", 3], "--width.*multiple of twice the 3 heads"),
        (["--seed", 2, "--baseline-seed", 2], "--baseline-seed.*2 is the seed of the family"),
        (["--vocab-size", 100], "--vocab-size"),
        (["--muon-lr", 0], "--muon-lr"),
        (["--muon-lr", "nan"], "is not a finite number"),
        (["--ema", 1], "--ema"),
    ],
)
def test_training_options_that_cannot_be(run, tmp_path, options, message):
    result = run("train", tmp_path / "family", *options)
    assert result.exit_code == 2 and re.search(message, result.stderr, re.DOTALL)
    assert not (tmp_path / "family").exists()


def test_train_says_what_it_made_and_leaves_it_alone_the_next_time(run, tmp_path, tiny_text):
    command = [
        "train",
        tmp_path / "f",
        "--data",
        tiny_text,
        "--depths",
        "1",
        "--steps",
        2,
        "--width",
        8,
        "--length",
        16,
        "--batch-size",
        2,
        "--vocab-size",
        262,
    ]
    first, second = run(*command), run(*command)
    made, complete = first.stdout.splitlines()
    assert re.fullmatch(r"1b: held-out NELBO \d\.\d{4} nats per token -> .*/f/1b", made)
    assert (
        second.stdout.splitlines() == [complete] == [f"The family is complete in {tmp_path / 'f'}."]
    )
    assert first.exit_code == second.exit_code == 0
    listed = json.loads(run("models", "--family", tmp_path / "f", "--json").stdout)
    assert [(row["name"], row["blocks"]) for row in listed] == [("1b", 1)]


def raise_in_models(monkeypatch, error):
    """`stepimp models` meets an error while it runs."""

    def fail(**_):
        raise error

    monkeypatch.setattr(main.commands["models"], "callback", fail)


@pytest.mark.parametrize(
    "error, code",
    [
        (KeyboardInterrupt(), 130),
        (Terminated(signal.SIGTERM), 143),
        (Terminated(signal.SIGHUP), 129),
    ],
)
def test_an_interrupted_run_says_that_finished_work_is_kept(run, monkeypatch, error, code):
    raise_in_models(monkeypatch, error)
    result = run("models")
    assert result.exit_code == code and "Traceback" not in result.stderr
    assert "Finished work is kept: run the same command again to continue." in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_process_politely(tmp_path, tiny_text, number):
    command = [sys.executable, "-m", "stepimp", "train", str(tmp_path / "family")]
    options = ["--data", str(tiny_text), "--depths", "1", "--steps", "1000000", "--width", "8"]
    sizes = ["--length", "16", "--batch-size", "2", "--vocab-size", "262"]
    process = subprocess.Popen([*command, *options, *sizes], stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "family" / "1b.training").exists():  # it is training
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    said = process.stderr.read()
    assert process.wait(60) == 128 + number
    assert "Finished work is kept" in said and "Traceback" not in said


@pytest.mark.parametrize(
    "number, filename, advice",
    [
        (errno.ENOSPC, "/x/blocks", ": /x/blocks. Free space or choose another folder."),
        (errno.ENOSPC, None, ": the standard output. Free space or choose another folder."),
        (errno.EACCES, "/x", ": /x. Change its permissions or choose another path."),
        (errno.ELOOP, "/x", ": /x. Its symbolic links lead in a circle: correct them"),
        (errno.EROFS, "/x", ": /x. It cannot be written to: choose another folder."),
        (errno.EIO, "/x", ": /x. Choose another path."),
        (errno.ENAMETOOLONG, "/x", ": /x. Choose a shorter name."),
    ],
)
def test_an_error_of_the_system_is_one_line_with_fitting_advice(
    run, monkeypatch, number, filename, advice
):
    raise_in_models(monkeypatch, OSError(number, os.strerror(number), filename))
    result = run("models")
    assert result.exit_code == 1 and os.strerror(number) + advice in result.stderr


@pytest.mark.parametrize("bug", [OSError("no number, no file"), KeyError("x"), TypeError("y")])
def test_a_bug_keeps_its_traceback_and_asks_to_be_reported(run, monkeypatch, bug):
    raise_in_models(monkeypatch, bug)
    error = run("models").exception
    assert error is bug and "This is a bug in stepimp" in error.__notes__[0]


def test_python_m_stepimp_is_the_same_program(python):
    source = "import runpy, sys; sys.argv = ['stepimp', '--version']; "
    source += "runpy.run_module('stepimp', run_name='__main__')"
    assert python(source).strip().endswith(f"version {__version__}")
