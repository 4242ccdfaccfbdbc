"""Before a run that would take more than an hour: what it would take, and a question. What cannot
fit into the memory is refused at once.
"""

import click
import pytest
from documents import call
from outcomes import NEEDS

from stepimp.commands import _long

LONG = {
    "kl": ["--repeats", 10**9],
    "compare": [*NEEDS["compare"], "--samples", 30_000_000, "--steps", 1000],
    "generate": ["--schedule", "H1000", "--samples", 40_000_000],
    "search": ["--samples", 10_000_000],
    "profile": ["--repeats", 10_000_000],
    "recommend": ["--verify", "--samples", 30_000_000],
    "train": ["folder", "--steps", 100_000_000, "--batch-size", 64],
    "judge": ["folder", "--steps", 100_000_000, "--batch-size", 64],
}


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    """Long runs would start themselves in several processes."""
    monkeypatch.setenv("STEPIMP_WORKERS", "1")


@pytest.fixture
def large_machine(monkeypatch):
    monkeypatch.setattr(_long, "free_memory", lambda: 10**15)


@pytest.mark.parametrize("command", LONG)
def test_a_long_run_is_refused_where_nobody_can_be_asked(
    run, written, command, large_machine, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    outcome = run(command, *LONG[command])
    assert outcome.code == 2 and written() == []
    assert "This would take about" in outcome.message
    assert "Give --yes to run it, or choose smaller numbers" in outcome.message


@pytest.mark.parametrize("text", ["text.txt", "tokens.safetensors", "below/the/folder", "~/text"])
@pytest.mark.parametrize("command", ["kl", "train", "judge"])
def test_a_text_that_is_not_there_is_found_before_anybody_is_asked(
    run, written, command, text, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    outcome = run(command, *LONG[command], "--data", text)
    assert outcome.code == 1 and written() == []
    assert f"No such file: {text}. Give a file" in outcome.message


@pytest.mark.parametrize("agreed", ["--yes", "STEPIMP_YES"])
def test_a_long_run_that_is_agreed_to_runs(run, monkeypatch, agreed):
    monkeypatch.setattr(_long, "HOUR", 0.0)
    assert run("generate", *NEEDS["generate"]).code == 2
    if agreed == "--yes":
        assert run("generate", *NEEDS["generate"], "--yes").code == 0
    else:
        monkeypatch.setenv(agreed, "1")
        assert run("generate", *NEEDS["generate"]).code == 0


@pytest.mark.parametrize("answer, code", [("y", 0), ("n", 1)])
def test_a_person_is_asked(run, monkeypatch, answer, code):
    monkeypatch.setattr(_long, "HOUR", 0.0)
    monkeypatch.setattr(_long, "is_interactive", lambda: True)
    run("models")  # sets where results go
    result = call("generate", *NEEDS["generate"], input=f"{answer}\n", code=code)
    assert "This would take about 0.0 hours" in result.stderr and "Run it?" in result.stderr


TOO_LARGE = {
    "kl": (["--points", 100_000_000], "--points"),
    "generate": (["--schedule", "H5", "--samples", 10**13], "--samples 10000000000000"),
    "compare": ([*NEEDS["compare"], "--fractions", "0:1:1e-9"], "fractions; the most is 1,000"),
    "profile": (["--points", 100_000_000], "--points"),
    "train": (["folder", "--depths", 100_000_000], "A model of 100,000,000 blocks"),
    "train ": (["folder", "--cond-dim", 10**9], "A model of 12 blocks"),
    "judge": (["folder", "--width", 100_000_000], "width 100,000,000"),
    "judge ": (["folder", "--context", 10**9], "and 1,000,000,000 tokens would take"),
    "recommend": (["--steps", 100_000_000], "--steps"),
}


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_what_cannot_fit_is_refused_at_once_with_the_reason(
    run, written, kind, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(_long, "free_memory", lambda: 64 * 10**9)
    (options, reason), command = TOO_LARGE[kind], kind.strip()
    outcome = run(command, *options, "--yes")
    assert outcome.code == 2 and reason in outcome.message and written() == []


def test_of_several_processes_the_first_asks(monkeypatch):
    monkeypatch.setattr(_long, "launched", lambda: (1, 2))
    _long.ask(1e9, yes=False)
    monkeypatch.setattr(_long, "launched", lambda: (0, 2))
    with pytest.raises(click.UsageError, match="about 11,574 days"):
        _long.ask(1e9, yes=False)


@pytest.mark.parametrize("command", ["kl", "compare", "generate", "profile", "recommend"])
def test_the_defaults_on_the_bundled_family_ask_nothing(command, monkeypatch):
    from click.testing import CliRunner

    from stepimp.commands import main

    asked = []
    monkeypatch.setattr(_long, "ask", lambda seconds, yes: asked.append(seconds))
    for module in ("quality.comparison.load", "sampling.profile.load"):
        monkeypatch.setattr(f"stepimp.{module}", stop)
    for module in ("sampling.generated.load", "models.loading.load"):
        monkeypatch.setattr(f"stepimp.{module}", stop)
    options = ["--verify"] if command == "recommend" else []
    CliRunner().invoke(main, [command, *options])
    assert len(asked) == 1 and 0.1 < asked[0] < _long.HOUR


def stop(*arguments, **options):
    raise KeyboardInterrupt
