"""The bar over several steps, and the pipe by which a step reports its progress."""

import io
import os

import pytest
from rich.console import Console

from stepimp.commands import _overall, _progress
from stepimp.commands._errors import Terminated


def test_a_command_ends_when_the_process_that_started_it_was_killed(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setenv("STEPIMP_PROGRESS", str(writing))
    with pytest.raises(Terminated), _progress.progress("texts") as report:
        report(1, 2)
    os.close(writing)


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 100 columns, as far as progress knows; what it was sent."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    for module in (_progress, _overall):
        monkeypatch.setattr(module, "stderr", lambda: console)
    return screen


def test_the_bar_is_over_all_steps_by_their_work(terminal):
    with _overall.Overall(8) as overall:
        (task,) = overall.bar.tasks
        overall.started("Step 1 of 2: stepimp loss")
        overall.started("Step 2 of 2: stepimp kl")
        overall.report("Step 1 of 2: stepimp loss", 2)
        overall.report("Step 2 of 2: stepimp kl", 1)
        assert task.completed == 3, "both run at once"
        task.start_time -= 30
        overall.bar.refresh()
        assert str(_overall.TimeLeft().render(task)) == "0:00:50 left", "30 s for 3 of 8"
        overall.report("Step 1 of 2: stepimp loss", 6)
        with overall.paused():
            assert not overall.bar.live.is_started
        overall.report("Step 2 of 2: stepimp kl", 2)
        assert task.finished
    shown = terminal.getvalue()
    for part in ("Step 2 of 2: stepimp kl", " 38%", "100%", " left"):
        assert part in shown


def test_before_anything_is_done_no_time_is_said(terminal):
    (task,) = _overall.Overall(1).bar.tasks
    assert str(_overall.TimeLeft().render(task)) == "-:--:-- left"
