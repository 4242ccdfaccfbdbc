"""The front door computes what the commands compute, and its results show themselves."""

import logging
import pydoc
import re
from html import escape
from pathlib import Path
from xml.etree import ElementTree

import pytest
from documents import call, only_document
from examples import COMMANDS

import stepimp
from stepimp.api import Texts
from stepimp.documents import read_document
from stepimp.errors import StepimpError
from stepimp.plots.figures import draw
from stepimp.quality.planned import plan_document
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.schedule import Schedule, parse

API_PAGE = Path(__file__).parents[1] / "docs" / "api.md"
SMALL = dict(sequences=4, points=3, length=16)


@pytest.fixture
def out(tmp_path, tiny_family, monkeypatch):
    """A results folder, and the tiny family as the default."""
    monkeypatch.setenv("STEPIMP_FAMILY", str(tiny_family))
    monkeypatch.setenv("STEPIMP_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


@pytest.fixture
def curves(out, tiny_text):
    return stepimp.curves("2b", ["1b"], "2b_seed2", data=str(tiny_text), **SMALL)


def shown(result):
    """What a notebook shows, which must be well-formed."""
    return ElementTree.fromstring(result._repr_html_())


def test_load_gives_all_members_by_default(out):
    family = stepimp.load()
    assert family.blocks == {"1b": 1, "2b": 2, "2b_seed2": 2}
    assert stepimp.load(["1b"]).blocks == {"1b": 1}


def test_one_name_stands_for_a_list_of_one(curves, out, tiny_text):
    assert stepimp.load("1b").blocks == {"1b": 1}
    same = stepimp.curves("2b", "1b", "2b_seed2", data=str(tiny_text), **SMALL)
    assert same.path == curves.path
    assert stepimp.recommend(heavy="2b", lights="1b", steps=8).document["params"]["lights"] == [
        "1b"
    ]


def test_curves_are_those_of_the_command_and_not_measured_twice(curves, out, tiny_text):
    options = ["--heavy", "2b", "--light", "1b", "--baseline", "2b_seed2", "--data", tiny_text]
    before = only_document(out, "curves")
    call("kl", *options, "--sequences", 4, "--points", 3, "--length", 16)
    assert only_document(out, "curves") == before == read_document(curves.path)
    assert curves.relative and [row["t"] for row in curves.rows] == pytest.approx([1 / 3, 2 / 3, 1])


def test_curves_show_their_relative_kl(curves):
    (points,) = curves.points("relative_kl_nats").values()
    row = curves.rows[0]
    assert points[0] == tuple(
        row[name] for name in ("t", *(f"relative_kl_nats{end}" for end in ("", "_low", "_high")))
    )
    assert shown(curves).get("aria-label") == "Relative KL, nats per masked token: 1b"


def test_without_a_baseline_curves_show_the_kl(out, tiny_text):
    curves = stepimp.curves(data=str(tiny_text), **SMALL)
    assert not curves.relative
    assert shown(curves).get("aria-label").startswith("KL(heavy || light)")


def test_what_is_unusual_is_logged(out, tiny_text, caplog):
    with caplog.at_level(logging.WARNING, "stepimp"):
        stepimp.curves("1b", ["2b"], data=str(tiny_text), **SMALL)
    assert "2b is deeper than the heavy model 1b" in caplog.text


def test_a_recommendation_is_that_of_the_command(curves, out):
    advice = stepimp.recommend(curves, budget=0.5, steps=20)
    call("recommend", "--budget", 0.5, "--steps", 20)
    assert only_document(out, "recommend")["rows"] == advice.rows
    assert advice.schedule.format("2b", "1b") == advice.rows[0]["schedule"]
    assert advice.schedule.steps == 20
    assert "Saves 25.0% of the FLOPs" in "".join(shown(advice).itertext())


def test_a_recommendation_takes_a_file_or_the_newest_curves(curves):
    advice = [stepimp.recommend(source, steps=20).rows for source in (curves, curves.path, None)]
    assert advice[0] == advice[1] == advice[2]


@pytest.mark.parametrize("call_it", [stepimp.recommend, stepimp.sample])
def test_what_is_missing_is_measured_first(out, monkeypatch, call_it):
    measured = []

    def measure(options, out, **_):
        measured.append(options)
        raise StepimpError("measured")

    monkeypatch.setattr("stepimp.api.measure_curves", measure)
    with pytest.raises(StepimpError, match="measured"):
        call_it()
    assert measured[0].models == ("2b", "1b", "2b_seed2")


def test_samples_are_those_of_the_command(curves, out):
    advice = stepimp.recommend(curves, budget=0.5, steps=20)
    texts = stepimp.sample(advice, samples=2, length=8)
    call("generate", "--samples", 2, "--length", 8)
    lines = read_document(texts.path)["rows"][0]["samples_file"]
    assert only_document(out, "generate")["path"] == texts.path and (out / lines).exists()
    assert len(texts.texts) == 2 and texts.cost["tokens"] == 16
    assert all(escape(text) in texts._repr_html_() for text in texts.texts)


def test_progress_is_a_bar_or_a_function(out, tiny_text, capfd):
    """True is a bar, as users of other libraries expect; False and None are none."""
    seen = []
    options = dict(data=str(tiny_text), **SMALL)
    curves = stepimp.curves("2b", "1b", "2b_seed2", progress=True, **options)
    assert "4/4" in capfd.readouterr().err
    for progress in (False, None):
        stepimp.curves("2b", "1b", progress=progress, **options)
    stepimp.recommend(curves, steps=1200, progress=lambda *units: seen.append(units))
    assert seen[-1] == (100, 100)
    stepimp.sample("L2,H3", samples=1, length=8, progress=lambda *units: seen.append(units))
    assert seen[-1] == (8, 8)
    stepimp.sample("L2,H3", samples=2, length=8, progress=True)
    assert "16/16" in capfd.readouterr().err


def test_prompts_are_a_list_of_texts_or_a_file(out, tmp_path):
    """The same texts, whichever way they come."""
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "the "}\n{"prompt": "a {}"}\n')
    options = dict(samples=2, length=12)
    listed = stepimp.sample("L2,H3", prompt=["the ", "a {}"], **options)
    assert [each["prompt"] for each in listed.samples] == [0, 0, 1, 1]
    assert all(text.startswith("a {}") for text in listed.texts[2:])
    assert stepimp.sample("L2,H3", prompt=file, **options).samples == listed.samples


def test_texts_are_read_by_either_of_their_files(out):
    texts = stepimp.sample("L2,H3", samples=1, length=8)
    lines = Path(texts.path).with_suffix(".jsonl")
    assert Texts.read(lines) == Texts.read(texts.path) == texts


def test_a_plan_is_made_of_results(out, tiny_text):
    curves = stepimp.curves("2b", "1b", data=str(tiny_text), by_masked=True, **SMALL)
    plans = [plan_document(given, out, forwards=4) for given in (curves, curves.document)]
    assert plans[0]["rows"] == plans[1]["rows"]


def test_figures_are_drawn_of_results(curves):
    assert (
        draw("figure5", curves).axes[0].get_ylabel()
        == draw("figure5", curves.document).axes[0].get_ylabel()
    )


def test_a_schedule_may_be_given_in_any_form(out):
    schedule = parse("L2,H3", "2b", "1b")
    texts = [
        stepimp.sample(given, samples=1, length=8).samples
        for given in (schedule, "L2,H3", "1b:2,2b:3", Schedule((("1b", 2), ("2b", 3))))
    ]
    assert all(each == texts[0] for each in texts)


def test_schedules_over_masked_positions_and_plans_are_sampled_too(out):
    for given in (MaskedSchedule((("1b", 8, 4), ("2b", 4, 0))), Plan((("1b", 4), ("2b", 4)))):
        texts = stepimp.sample(given, samples=1, length=8)
        assert texts.rows[0]["schedule"] == given.format("2b", "1b")


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'stepimp' has no attribute 'nothing'"):
        stepimp.nothing  # noqa: B018


def table_of_calls() -> dict[str, str]:
    """command -> the library calls that docs/api.md names for it."""
    rows = re.findall(r"^\| (`stepimp .*?) \| (.*) \|$", API_PAGE.read_text("utf-8"), re.MULTILINE)
    commands = {command: calls for cell, calls in rows for command in re.findall("`(.*?)`", cell)}
    return {command.removeprefix("stepimp "): calls for command, calls in commands.items()}


def test_each_command_has_its_library_call_in_the_documentation():
    words = {command.split()[0] for command in table_of_calls()}
    assert words == {path[0] for path in COMMANDS}


@pytest.mark.parametrize("command", table_of_calls())
def test_a_documented_library_call_exists(command):
    for name in re.findall(r"`(stepimp[\w.]+)\(", table_of_calls()[command]):
        assert callable(pydoc.locate(name)), name
