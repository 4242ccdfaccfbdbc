"""The estimate of `stepimp reproduce`: the sum of the commands that it would run."""

import json
import shlex

import pytest
from documents import call

from stepimp.commands import _estimates_models, main
from stepimp.commands._protocol import plan
from stepimp.commands._steps import elapsed
from stepimp.commands._work import missing_curves, step_params
from stepimp.commands.estimate import ESTIMATES
from stepimp.estimates import rates
from stepimp.estimates.rates import Rates, rates_apart
from stepimp.estimates.work import Work, curves_work
from stepimp.models.family import family_folder
from stepimp.models.options import ModelOptions

LONG = [
    name for name, command in main.commands.items() if "yes" in {o.name for o in command.params}
]


@pytest.fixture
def constant_rates(monkeypatch):
    """A second for a sequence and 10 s to start; a command that runs n models takes n bytes."""

    def rates_of(runs, report):
        return [
            Rates(
                flops=dict.fromkeys(work.models, (1.0, 0.0)),
                startup=10.0,
                input=1.0,
                forward=dict.fromkeys(work.models, 1.0),
                text=0.0,
                memory=len(work.models),
            )
            for work, _, _ in runs
        ]

    monkeypatch.setattr("stepimp.estimates.rates.rates_apart", rates_of)


def estimated(*arguments):
    return json.loads(call("estimate", "reproduce", "--json", *arguments).stdout)


@pytest.mark.parametrize("name", LONG)
def test_every_command_that_may_be_long_has_an_estimate(name):
    assert name in ESTIMATES, f"add {name} to ESTIMATES of commands/estimate.py"


@pytest.mark.parametrize("name", ESTIMATES)
def test_the_help_names_every_command_with_an_estimate(name):
    listed = main.commands["estimate"].help.partition("COMMAND is ")[2].partition("with its")[0]
    assert name in listed.replace(",", " ").split()


def test_it_is_the_sum_of_its_commands(constant_rates, tmp_path):
    document = estimated("--results", tmp_path, "--workers", 2)
    parts = document["commands"]
    steps = plan("quick", None, main, "auto")
    assert [part["command"] for part in parts] == [list(step.arguments) for step in steps]
    for name in ("flops", "texts_scored", "disk_bytes"):
        assert document[name] == sum(part[name] for part in parts) > 0
    total = sum(sum(part["forwards"].values()) for part in parts)
    assert sum(document["forwards"].values()) == total == pytest.approx(document["flops"], abs=20)
    assert {"12b", "code/12b"} < document["forwards"].keys()
    assert document["seconds"] == elapsed(steps, [part["seconds"] for part in parts], 2)
    largest = sorted(part["memory_bytes"] for part in parts)[-2:]
    assert document["memory_bytes"] == sum(largest) and document["processes"] == 2


def test_curves_that_an_earlier_command_measures_are_not_counted_again(constant_rates, tmp_path):
    parts = estimated("--results", tmp_path)["commands"]
    counted = {tuple(part["command"][:3]): part["forwards"] for part in parts}
    assert not counted["recommend", "--budget", "0.25"] and not counted["plan", "--forwards", "64"]
    assert counted["recommend", "--over", "masked"]["12b"] > 1000
    params = step_params(["search", "--out", str(tmp_path)], main)
    assert missing_curves(*params, family_folder()), "a search on its own measures them"
    assert "12b_seed2" not in counted["search", "--samples", "12"]


def test_what_is_there_already_is_left_out(constant_rates, tmp_path, monkeypatch):
    monkeypatch.setattr(
        _estimates_models, "is_there", lambda results, step: step.arguments[0] != "profile"
    )
    parts = estimated("--results", tmp_path)["commands"]
    assert [part["command"][0] for part in parts] == ["profile"]
    monkeypatch.setattr(_estimates_models, "is_there", lambda results, step: True)
    done = estimated("--results", tmp_path)
    assert done["commands"] == [] and done["seconds"] == 0


def test_all_commands_are_listed_with_their_times(constant_rates, tmp_path):
    shown = call("estimate", "reproduce", "--results", tmp_path, "--scale", "full").stdout
    total, _, listed = shown.partition("Of which")
    assert "peak memory" in total
    for step in plan("full", None, main, "auto"):
        assert shlex.join(["stepimp", *step.arguments]) in listed


def test_each_is_timed_once_in_a_process_of_its_own(tiny_family, tmp_path, monkeypatch):
    monkeypatch.setenv("STEPIMP_CACHE", str(tmp_path))
    work = curves_work(["2b", "1b"], 4, 1, 2, 16, 4)
    runs = [
        (work, ModelOptions(family=str(tiny_family)), None),
        (Work(16, 4), ModelOptions(), None),
    ]
    reports = []
    monkeypatch.setattr(rates, "measure_rates", None)  # in this process
    first = rates_apart(runs, lambda *done: reports.append(done))
    assert first[0].input > 0 and first[0].memory > 1e6 and first[1].startup == 0
    assert reports == [(1, 2), (2, 2)]
    monkeypatch.setattr(rates, "ProcessPoolExecutor", None)
    again = rates_apart(runs, lambda *done: None)
    assert [measured.startup for measured in again] == [measured.startup for measured in first]
