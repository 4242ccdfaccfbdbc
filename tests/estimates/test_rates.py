"""What work costs on this machine: measured once, and added up."""

import json
import time

import pytest
import torch
from documents import call

from stepimp.errors import StepimpError
from stepimp.estimates import rates as module
from stepimp.estimates import timing
from stepimp.estimates.rates import Rates, known_rates, measure_rates, rates
from stepimp.estimates.work import Work, curves_work
from stepimp.models.options import ModelOptions


@pytest.fixture
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    monkeypatch.setenv("STEPIMP_CACHE", str(tmp_path))


def test_seconds_are_those_of_all_parts():
    work = Work(8, 4, inputs=10, texts=3)
    work.drawn.update(h=100, l=50)
    measured = Rates({}, startup=1, input=2, forward={"h": 0.5, "l": 0.1}, text=4, memory=0)
    assert measured.seconds(work) == 1 + 2 * 10 + 50 + 5 + 4 * 3
    assert measured.seconds(work, 3) == 1 + (2 * 10 + 50 + 5 + 4 * 3) / 3


def test_rates_are_measured_once_for_weights_and_batches(quick, tiny_family, monkeypatch):
    options = ModelOptions(family=str(tiny_family))
    work = curves_work(["2b", "1b"], 4, 1, 2, 16, 4)
    assert known_rates(work, options) is None
    measured = rates(work, options)
    assert measured.input > 0 and measured.startup > 0 and measured.memory > 1e6
    assert measured.flops.keys() == {"2b", "1b"} and measured.forward == {}
    monkeypatch.setattr(module, "measure_rates", None)
    again = rates(work, options)
    assert again.seconds(work) == measured.seconds(work)
    assert work.flops(again.flops) == work.flops(measured.flops) > 0
    assert known_rates(curves_work(["2b", "1b"], 4, 1, 2, 16, 2), options) is None
    assert known_rates(curves_work(["1b", "2b"], 9, 1, 2, 16, 4), options) is None


MODELS = ["--heavy", "2b", "--light", "1b"]


@pytest.mark.parametrize(
    "arguments, models, scored",
    [
        (["cascade", "--sequences", 4, "--points", 2], ["2b", "1b"], 0),
        (["kl", "--sequences", 4, "--points", 2], ["2b", "1b"], 0),
        (["generate", "--samples", 3, "--schedule", "L2,H6"], ["1b", "2b"], 0),
        (["compare", "--samples", 2, "--steps", 8, "--schedule", "L2,H6"], ["2b", "1b"], 4),
        (["profile", "--samples", 2, "--steps", 8, "--points", 2], ["2b", "1b"], 0),
        (
            ["search", "--samples", 2, "--steps", 8, "--segments", 2, "--light-segments", 1],
            ["2b", "1b", "2b_seed2"],  # the baseline of the curves that it measures first
            4,
        ),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)
def test_every_command_that_runs_models_has_an_estimate(
    quick, tiny_family, arguments, models, scored
):
    command, *options = arguments
    line = [command, *options, *MODELS, "--family", tiny_family]
    document = json.loads(call("estimate", "--json", *line).stdout)
    assert set(document["forwards"]) == set(models) and document["texts_scored"] == scored
    assert all(document[name] > 0 for name in ("flops", "seconds", "memory_bytes", "disk_bytes"))
    shown = call("estimate", *line).stdout
    assert f"stepimp {command}" in shown and "peak memory" in shown


def test_the_time_is_shared_by_the_processes_of_the_command(quick, tiny_family, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    line = ["kl", "--sequences", 4000, *MODELS, "--family", tiny_family]
    alone, shared = (
        json.loads(call("estimate", "--json", *line, "--workers", count).stdout) for count in (1, 2)
    )
    assert (alone["processes"], shared["processes"]) == (1, 2)
    rates = Rates(flops={}, startup=5.0, input=0.25, forward={}, text=0.0, memory=0)
    work = Work(length=8, batch_size=4, inputs=40)
    assert [rates.seconds(work, count) for count in (1, 2, 5)] == [15.0, 10.0, 7.0]


def test_one_thread_is_timed_by_the_work_of_the_process(tiny_family, monkeypatch):
    clocks = []
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    monkeypatch.setattr(
        module, "seconds_of_input", lambda family, work, clock: clocks.append(clock) or 1.0
    )
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            work = curves_work(["2b", "1b"], 4, 1, 2, 16, 4)
            measure_rates(work, ModelOptions(family=str(tiny_family), device="cpu"), None)
        finally:
            torch.set_num_threads(1)
    assert clocks == [time.process_time, time.perf_counter]


def test_the_options_are_those_of_the_command(quick, tiny_family):
    wrong = call("estimate", "kl", "--samples", 3, "--family", tiny_family, code=2)
    assert "No such option" in wrong.output and "--samples" in wrong.output
    assert "is not one of" in call("estimate", "figures", code=2).output


def test_json_is_printed_wherever_it_is_asked_for(quick, tiny_family):
    line = ["kl", "--sequences", 4, *MODELS, "--family", tiny_family]
    first, last = (
        json.loads(call("estimate", *words).stdout)
        for words in (["--json", *line], [*line, "--json"])
    )
    assert first["forwards"] == last["forwards"] and last["command"][-1] == "--json"


def test_what_depends_on_the_measurement_has_no_estimate(tiny_family):
    line = ["kl", "--until", 0.01, *MODELS, "--family", tiny_family]
    assert "estimate --sequences instead" in call("estimate", *line, code=2).output


def test_a_cache_on_a_full_disk_is_named(quick, full_disk):
    with full_disk(10), pytest.raises(StepimpError, match="rates-.*Free .*STEPIMP_CACHE sets it"):
        timing.keep(timing.rates_path("some work"), Rates({}, 1, 2, {}, 4, 0))


def test_a_stamp_changes_with_a_folder_s_files_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nothing, folder = timing.stamp(""), timing.stamp(str(tmp_path))
    (tmp_path / "broken").symlink_to("nowhere")
    assert (timing.stamp(""), timing.stamp(str(tmp_path))) == (nothing, folder)
    (tmp_path / "a.txt").write_text("text")
    assert timing.stamp("") == nothing and timing.stamp(str(tmp_path)) != folder
