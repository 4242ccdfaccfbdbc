"""Commands whose work several processes share: the same rows and files for any number of them, and
a killed run is continued by another number.
"""

import json
import threading

import pytest
from together import run_together

from stepimp.curves import measure as measuring
from stepimp.curves.options import CurveOptions
from stepimp.documents import read_document
from stepimp.journals import MemoryJournal
from stepimp.models import checkpoints
from stepimp.processes import Processes
from stepimp.quality import comparison, evaluation, paired_samples
from stepimp.quality.comparison import CompareOptions, compare_models
from stepimp.quality.evaluation import EvaluateOptions, evaluate_file
from stepimp.sampling import generate as generating
from stepimp.sampling.cascade_document import CascadeOptions, tune_cascade
from stepimp.sampling.curves import measure_curves
from stepimp.sampling.generated import GenerateOptions, generate_texts
from stepimp.sampling.profile import ProfileOptions, profile_models

COUNTS = [1, 2, 5]
TIMED = {"seconds", "seconds_low", "seconds_high"} | {
    f"saved_seconds{end}" for end in ("", "_low", "_high")
}


@pytest.fixture(autouse=True)
def loaded_in_turn(tiny_judge, monkeypatch):
    """transformers loads one model at a time, and one judge serves all."""
    for module in (comparison, evaluation):
        monkeypatch.setattr(module, "load_judge", lambda *arguments: tiny_judge)
    load, one_at_a_time = checkpoints.load_checkpoint, threading.Lock()

    def in_turn(*arguments):
        with one_at_a_time:
            return load(*arguments)

    monkeypatch.setattr(checkpoints, "load_checkpoint", in_turn)


@pytest.fixture
def models(tiny_family, tmp_path):
    """Options of every run."""
    return {"family": str(tiny_family), "device": "cpu", "out": str(tmp_path)}


@pytest.fixture
def curves(models, tiny_text):
    """A function (progress=None, **options) that measures curves of 2b and 1b."""

    def run(progress=lambda done, total: None, **options):
        sizes = {"sequences": 11, "points": 3, "batch_size": 2, "length": 8} | options
        chosen = CurveOptions(
            heavy="2b",
            lights=("1b",),
            baseline="2b_seed2",
            data=str(tiny_text),
            family=models["family"],
            **sizes,
        )
        return measure_curves(chosen, models["out"], device="cpu", progress=progress)

    return run


def generate(models, **options):
    sizes = {"samples": 11, "length": 8, "batch_size": 2} | options
    chosen = GenerateOptions(schedule="L3,H4,L3", heavy="2b", light="1b", **sizes, **models)
    return generate_texts(chosen, recommend=None)


def compare(models, **options):
    sizes = {"samples": 7, "steps": 8, "length": 8, "batch_size": 2} | options
    return compare_models(CompareOptions(heavy="2b", lights=("1b",), **sizes, **models))


def emptied(folder):
    """The names of all files in a folder, which are removed."""
    files = sorted(folder.iterdir())
    for file in files:
        file.unlink()
    return [file.name for file in files]


def with_any_number(run, folder):
    """(document, names of the files) of a run by each of COUNTS."""
    for count in COUNTS:
        documents = run_together(count, lambda rank: run())
        assert all(document["path"] == documents[0]["path"] for document in documents)
        yield documents[0], emptied(folder)


def untimed(row):
    return {name: value for name, value in row.items() if name not in TIMED}


@pytest.mark.parametrize("options", [{}, {"until": 2.0}, {"repeats": 3}, {"inputs": "samples"}])
def test_curves(curves, tmp_path, options):
    (one, files), *others = with_any_number(lambda: curves(**options), tmp_path)
    assert len(files) == 1
    if "until" in options:
        assert one["rows"][0]["sequences"] < 10, "it stops before the end of the text"
    for document, names in others:
        assert names == files and json.dumps(document["rows"]) == json.dumps(one["rows"])
        assert document["measurements"] == one["measurements"]


def test_a_cascade(models, tiny_text, tmp_path):
    sizes = {"sequences": 11, "points": 3, "batch_size": 2, "length": 8}
    options = CurveOptions(
        heavy="2b", lights=("1b",), data=str(tiny_text), family=models["family"], **sizes
    )

    def tune():
        return tune_cascade(options, CascadeOptions(), models["out"], device="cpu")

    (one, files), *others = with_any_number(tune, tmp_path)
    assert len(files) == 1
    for document, names in others:
        assert names == files and json.dumps(document["rows"]) == json.dumps(one["rows"])


def test_generated_text(models, tmp_path):
    texts = set()
    for count in COUNTS:
        (document, _), *_ = run_together(count, lambda rank: generate(models))
        (file,) = tmp_path.glob("*.jsonl")
        texts.add(file.read_bytes())
        assert document["cost"]["tokens"] == 11 * 8
        assert len(emptied(tmp_path)) == 2
    assert len(texts) == 1


def test_a_comparison(models, tmp_path):
    (one, files), *others = with_any_number(lambda: compare(models), tmp_path)
    assert len(files) == 1 + 7
    for document, names in others:
        assert names == files and document["per_sample"] == one["per_sample"]
        assert [*map(untimed, document["rows"])] == [*map(untimed, one["rows"])]
        assert all(row["saved_seconds"] == row["saved_seconds"] for row in document["rows"])


def test_samples_of_a_comparison_are_kept_as_one_process_keeps_them(models, tmp_path):
    run_together(3, lambda rank: compare(models))
    (path, *_) = tmp_path.glob("samples-*.jsonl")
    units = [json.loads(line).get("unit") for line in path.read_text().splitlines()]
    assert sorted(units[1:]) == ["0:2", "2:4", "4:6", "6:7"]


@pytest.mark.parametrize("compat", [None, "mdlm"])
def test_an_evaluation(models, tmp_path, monkeypatch, compat):
    monkeypatch.setattr(evaluation, "SCORED_TOGETHER", 2)
    generate(models)
    (file,) = tmp_path.glob("*.jsonl")
    options = {name: models[name] for name in ("family", "device", "out")}
    chosen = EvaluateOptions(file=str(file), compat=compat, **options)
    rows = [run_together(count, lambda rank: evaluate_file(chosen))[0]["rows"] for count in COUNTS]
    assert rows[0] == rows[1] == rows[2]


def test_a_profile(models, tmp_path):
    sizes = {"steps": 4, "samples": 2, "length": 8, "points": 2, "repeats": 3}
    chosen = ProfileOptions(heavy="2b", light="1b", **sizes, **models)
    one, two = (run_together(count, lambda rank: profile_models(chosen))[0] for count in (1, 2))
    assert [row["kind"] for row in one["rows"]] == [row["kind"] for row in two["rows"]]
    assert read_document(two["path"])["rows"]


class Killed(BaseException):
    """As a process ends in the middle of its work."""


@pytest.mark.parametrize("unit", ["chunk", "group", "turn"])
def test_a_killed_run_is_continued_by_another_number(curves, models, tmp_path, monkeypatch, unit):
    """unit: what a process dies in."""
    module, name = {
        "chunk": (measuring, "measure_chunk"),
        "group": (generating, "draw_exact"),
        "turn": (paired_samples, "draw_turn"),
    }[unit]
    run = {
        "chunk": lambda: curves()["rows"],
        "group": lambda: generate(models, samples=23)[1],
        "turn": lambda: compare(models)["per_sample"],
    }[unit]
    work, calls, last = getattr(module, name), [], [None]

    def counted(*arguments, **options):
        calls.append(arguments)
        if len(calls) == last[0]:
            raise Killed
        return work(*arguments, **options)

    monkeypatch.setattr(module, name, counted)
    whole, total = run(), len(calls)
    emptied(tmp_path)
    calls.clear()
    last[0] = total - 1
    with pytest.raises(Killed):
        run_together(3, lambda rank: run())
    assert any(part.suffixes[0] in (".1", ".2") for part in tmp_path.iterdir())
    begun, last[0] = len(calls), None
    assert run_together(2, lambda rank: run())[0] == whole
    assert begun < len(calls) <= total + 3, "at most the unit of each is done twice"
    assert not list(tmp_path.glob("*.journal")) + list(tmp_path.glob("*.[12].*"))


def test_journals_in_separate_folders_are_gathered(tmp_path):
    """On machines without a common folder each process reads its own part of the work."""

    def run(rank):
        journal = MemoryJournal()
        journal.done = {f"unit {rank}": rank}
        units = {f"unit {number}": number for number in range(4)}
        done = Processes().finish_units(units, lambda number: number, journal)
        return done, set(journal.done)

    results = run_together(3, run)
    assert all(done == {f"unit {number}": number for number in range(4)} for done, _ in results)
    assert sum("unit 3" in kept for _, kept in results) == 1


def test_progress_is_that_of_all(curves):
    moves = []
    run_together(3, lambda rank: curves(lambda done, total: moves.append((done, total))))
    begins = [(0, 11)] * 3  # of each process
    assert sorted(moves) == begins + [(2, 11), (4, 11), (6, 11), (8, 11), (10, 11), (11, 11)]
