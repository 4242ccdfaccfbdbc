"""`stepimp reproduce`: which commands it runs, which not again, and what it does when one fails."""

import os
from pathlib import Path

import pytest
from by_hand import comparison, write
from click.testing import CliRunner

from stepimp.commands import main, reproduce
from stepimp.commands.reproduce import plan
from stepimp.documents import NEEDS
from stepimp.family import family_folder


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """The command lines that would run; each leaves a document, unless its command is in `failing`."""
    lines = []

    def run(arguments, results, step):
        lines.append(arguments)
        if arguments[0] in ran.failing:
            return 1
        content = comparison(prefix_length=16 if "--prefix-length" in arguments else 0)
        content["command"], content["provenance"]["command_line"] = arguments[0], " ".join(["__main__.py", *arguments])
        write(Path(results), content, str(len(lines)))
        return 0

    def ran():
        done, lines[:] = list(lines), []
        return done

    ran.failing = ()
    monkeypatch.setattr(reproduce, "run", run)
    monkeypatch.setattr("stepimp.commands.figures.make", lambda name, *_: (None, [name]))
    monkeypatch.setattr("stepimp.commands.figures.write_report", lambda *_: "report.html")
    monkeypatch.setattr("stepimp.claims.claims", lambda documents: [])
    return ran


def call(tmp_path, *options):
    folders = ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "figures")]
    return CliRunner().invoke(main, ["reproduce", *folders, *options])


def test_each_need_has_its_step_and_a_second_call_only_draws(tmp_path, ran):
    first = call(tmp_path)
    assert first.exit_code == 0, first.output
    commands = [arguments for arguments, _ in plan("quick", None)]
    assert ran() == commands
    assert [one[0] for one in commands] == [kind for need, (kind, _) in NEEDS.items() if has_family(need)]
    again = call(tmp_path)
    assert again.exit_code == 0 and ran() == []
    assert f"Step 1 of {len(commands)} is there: stepimp loss" in again.stderr and "figure1: figure1" in again.stdout


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
    assert result.exit_code == 1 and "Failed: stepimp search" in result.stderr and "Traceback" not in result.output
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
        steps.setdefault(command, []).append(main.commands[command].make_context(command, options).params)
    if scale == "full":
        assert {one["samples"] for one in steps["compare"]} == {1600} and steps["search"][0]["samples"] == 160
        assert {one["sequences"] for kind in ("loss", "kl") for one in steps[kind]} == {500}
        assert {one["steps"] for one in steps["compare"]} <= {1000, 128} and steps["search"][0]["steps"] == 1000
    assert {one["prefix_length"] for one in steps["compare"]} == {0, 32, 16}


def test_the_lm1b_role_has_its_own_family_and_steps(tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "family.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    (arguments,) = [one for one, _ in plan("full", None) if "code" in one]
    assert arguments == ["compare", "--samples", "1600", "--steps", "128", "--family", "code"]


def test_a_real_command_leaves_what_says_that_it_is_there(tmp_path, tiny_family, tiny_text, monkeypatch):
    monkeypatch.setenv("STEPIMP_FAMILY", "/nowhere")  # the command line alone says what it is of
    arguments = ["loss", "--heavy", "2b", "--light", "1b", "--data", str(tiny_text), "--sequences", "3", "--points", "2",
                 "--family", str(tiny_family)]  # fmt: skip
    assert not reproduce.is_there(tmp_path, arguments, tiny_family)
    assert reproduce.run(arguments, tmp_path) == 0
    assert reproduce.is_there(tmp_path, arguments, tiny_family)
    assert not reproduce.is_there(tmp_path, [*arguments, "--seed", "1"], tiny_family)
