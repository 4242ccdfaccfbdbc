"""Misuse of the front door: each mistake gets one message that says what is wrong."""

import copy
import inspect
import os
import pickle
import pydoc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from documents import call

import stepimp
from stepimp.api import Curves, Recommendation, Texts
from stepimp.curves.options import CurveOptions
from stepimp.errors import StepimpError
from stepimp.quality.comparison import CompareOptions
from stepimp.quality.evaluation import EvaluateOptions
from stepimp.quality.planned import plan_document
from stepimp.sampling.chosen import GenerateOptions
from stepimp.sampling.orders import Order
from stepimp.schedules.schedule import parse
from stepimp.search.run import SearchOptions, search_models

SMALL = dict(sequences=4, points=3, length=16)


@pytest.fixture(autouse=True)
def out(tmp_path, tiny_family, monkeypatch):
    """A results folder, and the tiny family as the default."""
    monkeypatch.setenv("STEPIMP_FAMILY", str(tiny_family))
    monkeypatch.setenv("STEPIMP_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


@pytest.fixture
def curves(tiny_text):
    return stepimp.curves("2b", "1b", "2b_seed2", data=tiny_text, **SMALL)


MISTAKES = {
    # loading
    "12 does not name a model": lambda: stepimp.load(12),
    "3 does not name a model": lambda: stepimp.load(["1b", 3]),
    "None does not name a model": lambda: stepimp.load(None),
    "Did you mean '2b_seed2'": lambda: stepimp.load("2b_seed"),
    "holds no family.* The bundled families are code and docs": lambda: stepimp.load(family="doc"),
    "is a family, not a model.* its members 2b, 1b": lambda: stepimp.load(
        os.environ["STEPIMP_FAMILY"]
    ),
    "family is 3, not a string": lambda: stepimp.load(family=3),
    "dtype is 'auto', not 'float32' or 'bfloat16'": lambda: stepimp.load("1b", dtype="auto"),
    "dtype is 'int64'": lambda: stepimp.load("1b", dtype=torch.int64),
    "device is 0, not a string": lambda: stepimp.load("1b", device=0),
    # curves
    "sequences is -2, not a whole number of at least 1": lambda: stepimp.curves(sequences=-2),
    "sequences is 2.5, not a whole": lambda: stepimp.curves(sequences=2.5),
    "points is 0, not a whole number": lambda: stepimp.curves(points=0),
    "until is nan, not a finite number above 0": lambda: stepimp.curves(until=float("nan")),
    "split is 'test', not 'heldout' or 'all'": lambda: stepimp.curves(split="test"),
    "inputs is 'sample', not 'text' or 'samples'": lambda: stepimp.curves(inputs="sample"),
    "by_masked is 'yes', not true or false": lambda: stepimp.curves(by_masked="yes"),
    r"\['2b'\] does not name a model": lambda: stepimp.curves(["2b"], "1b"),
    # recommend
    "DataFrame does not hold curves": lambda: stepimp.recommend(pd.DataFrame({"t": [1.0]})),
    "float does not hold curves": lambda: stepimp.recommend(0.25),
    "budget is 25, not a number from 0 to 1": lambda: stepimp.recommend(budget=25),
    "budget is nan, not a number": lambda: stepimp.recommend(budget=float("nan")),
    "by is 'ppl', not 'kl' or 'loss' or 'nelbo'": lambda: stepimp.recommend(by="ppl"),
    "segments is 0, not a whole": lambda: stepimp.recommend(segments=0),
    "verification is True, not a Verification": lambda: stepimp.recommend(verification=True),
    # sample
    "list is not a schedule": lambda: stepimp.sample([("1b", 5)]),
    "samples is 0, not a whole": lambda: stepimp.sample("L5", 0),
    "samples is True, not a whole": lambda: stepimp.sample("L5", True),
    "prefix is None, not a string": lambda: stepimp.sample("L5", prefix=None),
    "prefix is tensor": lambda: stepimp.sample("L5", prefix=torch.tensor([1, 2])),
    "batch_size is -1, not a whole": lambda: stepimp.sample("L5", batch_size=-1),
    "sampler is 'ddpm', not 'ancestral' or 'first-hitting'": lambda: stepimp.sample(
        "L5", sampler="ddpm"
    ),
    "nowhere holds no family": lambda: stepimp.sample("L5", family="nowhere"),
    r"There is no prompt: give at least one": lambda: stepimp.sample("L5", prompt=[]),
    "prompt\\[1\\] is 3, not a string": lambda: stepimp.sample("L5", prompt=["a", 3]),
    "no gap to fill: write {} where one is": lambda: stepimp.sample("L5", infill="a b"),
    "list does not hold curves": lambda: plan_document([], "out", forwards=2),
    "forwards is '8', not a finite number above 0": lambda: plan_document({}, "out", forwards="8"),
    # progress
    "progress is 'bar': give True for a bar, or a function": lambda: stepimp.curves(progress="bar"),
    "progress is 1: give True": lambda: stepimp.sample("L5", progress=1),
    "progress is 'yes': give True": lambda: search_models(
        SearchOptions(heavy="2b", light="1b"), progress="yes"
    ),
    # options of the lower functions
    "prefix_length is -1": lambda: CompareOptions(heavy="2b", lights=("1b",), prefix_length=-1),
    r"fractions\[1\] is 2, not a number from 0 to 1": lambda: CompareOptions(
        heavy="2b", lights=("1b",), fractions=(0.5, 2)
    ),
    "compat is 'x', not 'mdlm'": lambda: EvaluateOptions(compat="x"),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_value_that_cannot_be_used_is_named(message):
    with pytest.raises(StepimpError, match=message):
        MISTAKES[message]()


@pytest.mark.parametrize(
    ("function", "wrong", "right"),
    [
        (stepimp.curves, "light", "lights"),
        (stepimp.curves, "sequence", "sequences"),
        (stepimp.recommend, "step", "steps"),
        (stepimp.sample, "num_samples", "samples"),
    ],
)
def test_a_misspelt_option_is_a_type_error_that_names_the_nearest(function, wrong, right):
    with pytest.raises(TypeError, match=f"no option '{wrong}'. Did you mean '{right}'?"):
        function(**{wrong: 3})


def test_paths_numpy_numbers_and_torch_names_are_taken(curves, tiny_family, tiny_text, out):
    same = stepimp.curves(
        "2b",
        np.array(["1b"]),
        "2b_seed2",
        family=Path(tiny_family),
        out=Path(out),
        data=Path(tiny_text),
        device=torch.device("cpu"),
        dtype=torch.float32,
        **{name: np.int64(number) for name, number in SMALL.items()},
    )
    assert same.path == curves.path
    advice = stepimp.recommend(Path(curves.path), np.float32(0.5), steps=np.int64(8))
    assert advice.document["params"]["budget"] == 0.5
    assert stepimp.load(Path(tiny_family) / "1b").blocks == {str(tiny_family / "1b"): 1}
    assert CurveOptions(heavy="2b", lights=["1b"]).lights == ("1b",)


def test_one_value_stands_for_a_list_and_schedules_for_their_notation():
    schedule = parse("L2,H3", "2b", "1b")
    options = CompareOptions(heavy="2b", lights="1b", schedules=[schedule, "H5"])
    assert (options.lights, options.schedules) == (("1b",), ("1b:2,2b:3", "H5"))
    assert CompareOptions(heavy="2b", lights="1b", schedules=schedule).schedules == ("1b:2,2b:3",)
    assert CurveOptions(heavy="2b", lights="1b") == CurveOptions(heavy="2b", lights=["1b"])
    options = GenerateOptions(schedule=schedule, order=Order("threshold"), prompt=["a"])
    assert (options.schedule, options.order) == ("1b:2,2b:3", "threshold:0.9")
    assert options.prompt == ("a",) and GenerateOptions(prompt="file").prompt == "file"


def test_a_cascade_takes_a_number_of_nats(out):
    texts = stepimp.sample(cascade=0.5, samples=1, length=8)
    assert texts.rows[0]["schedule"] == "cascade(0.5)"
    with pytest.raises(StepimpError, match="must be at least 0 nats"):
        stepimp.sample(cascade=-1, samples=1, length=8)


def test_results_are_short_in_print_and_long_in_pickles(curves):
    advice = stepimp.recommend(curves, steps=8)
    texts = stepimp.sample(advice, samples=1, length=8)
    assert repr(curves) == (
        f"Curves(1b against 2b, baseline 2b_seed2; 3 times, sequences of 16 tokens; {curves.path})"
    )
    assert repr(advice).startswith(f"Recommendation({advice.rows[0]['schedule']} saves 12.5% of")
    assert repr(texts).startswith("Texts(1 text of 8 tokens with ")
    for result in (curves, advice, texts):
        assert pickle.loads(pickle.dumps(result)) == copy.deepcopy(result) == result
        read = type(result).read(result.path)
        assert (read.rows, read.path) == (result.rows, result.path)
        rows = result.samples if result is texts else result.rows
        assert result.to_pandas().to_dict("records")[0].items() >= rows[0].items()
    assert Texts.read(texts.path).texts == texts.texts
    assert repr(stepimp.load("1b")).startswith("Family(1b (1 block); up to 32 tokens of a voc")


def test_a_file_of_another_kind_is_not_read(curves, tmp_path):
    with pytest.raises(StepimpError, match="is a document of curves; Recommendation holds"):
        Recommendation.read(curves.path)
    with pytest.raises(StepimpError, match="dict is not the path of a results file"):
        Curves.read(curves.document)
    with pytest.raises(StepimpError, match="No results file"):
        Texts.read(tmp_path / "nothing.json")


def test_a_result_of_a_command_is_read(curves):
    call("recommend", "--steps", 8)
    (file,) = Path(curves.path).parent.glob("recommend-*.json")
    assert Recommendation.read(file).schedule.steps == 8


def test_a_column_without_an_interval_is_named(curves):
    with pytest.raises(StepimpError, match="No column 'kl' with an interval: .*kl_nats"):
        curves.points("kl")


def test_editors_and_help_find_the_front_door(python):
    assert {"load", "curves", "recommend", "sample", "StepimpError"} <= set(dir(stepimp))
    assert stepimp.StepimpError is StepimpError
    assert "sequences" not in inspect.signature(stepimp.curves).parameters
    assert list(inspect.signature(stepimp.curves).parameters)[:3] == ["heavy", "lights", "baseline"]
    shown = pydoc.plain(pydoc.render_doc(stepimp.curves))
    assert "Measures KL and loss of light models" in shown and "baseline" in shown
    python("import sys, stepimp; dir(stepimp); assert 'stepimp.api' not in sys.modules")
