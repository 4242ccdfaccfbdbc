"""Results documents are checked when they are read, and damaged ones are passed over."""

import copy
import errno
import json
import logging
import os
import shutil
from pathlib import Path

import pytest

import stepimp.fixtures
from stepimp.columns import columns
from stepimp.document_types import document_fault
from stepimp.documents import command_of, headers_in, newest, read_document
from stepimp.errors import StepimpError
from stepimp.results import Run
from stepimp.rows import CascadeRow

REFERENCE = {
    path.stem.split("-")[0]: path
    for path in (Path(stepimp.fixtures.__path__[0]) / "reference").glob("*.json")
}


def test_the_newest_document_that_matches(tmp_path):
    for age, (command, seed) in enumerate([("a", 1), ("a", 2), ("b", 3), ("a", 4)]):
        path = Run(tmp_path, command, {"seed": seed}, {}).finish([])["path"]
        os.utime(path, (1000 - age, 1000 - age))
    assert newest(tmp_path, "a")["params"]["seed"] == 1
    assert (
        newest(tmp_path, "a", lambda document: document["params"]["seed"] > 1)["params"]["seed"]
        == 2
    )
    assert newest(tmp_path, "c") is None
    assert newest(tmp_path / "nowhere", "a") is None


def test_the_newest_of_a_command_is_not_one_whose_name_begins_alike(tmp_path):
    Run(tmp_path, "a-extra", {}, {}).finish([])
    assert newest(tmp_path, "a") is None


UNREADABLE = {
    "truncated": (
        lambda text: text[: len(text) // 2],
        "is truncated or not a results file: move it away",
    ),
    "empty": (lambda text: "", "is truncated or not a results file"),
    "foreign": (
        lambda text: '{"a": 1}',
        r"not a stepimp results file of this version \(stepimp/1\)",
    ),
    "a list": (lambda text: "[]", "not a stepimp results file"),
    "of another version": (
        lambda text: text.replace("stepimp/1", "stepimp/9"),
        "not a stepimp results file of this",
    ),
    "without its command": (
        lambda text: text.replace('"command"', '"order"'),
        "is damaged: the content lacks 'command'. Move it away",
    ),
}


@pytest.mark.parametrize("change, message", UNREADABLE.values(), ids=UNREADABLE)
def test_a_document_that_is(tmp_path, caplog, change, message):
    path = Run(tmp_path, "note", {}, {}).finish([])["path"]
    with open(path, "r+", encoding="utf-8") as file:
        text = change(file.read())
        file.seek(0)
        file.truncate()
        file.write(text)
    with pytest.raises(StepimpError, match=message):
        read_document(path)
    Run(tmp_path, "note", {"seed": 9}, {}).finish([])
    os.utime(path, (2e9, 2e9))
    with caplog.at_level("WARNING", "stepimp"):
        assert newest(tmp_path, "note")["params"]["seed"] == 9
    assert "Skipped: " in caplog.text and path in caplog.text


def test_a_document_that_is_not_there_or_a_folder_or_not_text(tmp_path):
    with pytest.raises(StepimpError, match="No results file .*missing.json"):
        read_document(tmp_path / "missing.json")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(StepimpError, match="truncated or not a results file"):
        read_document(tmp_path / "a.json")
    with pytest.raises(StepimpError, match="Cannot read .*It is a folder: name a file"):
        read_document(tmp_path)


def test_a_document_that_may_not_be_read_is_not_to_be_moved_away(tmp_path, monkeypatch):
    (tmp_path / "a.json").symlink_to(tmp_path / "b.json")
    (tmp_path / "b.json").symlink_to(tmp_path / "a.json")
    with pytest.raises(StepimpError, match="symbolic links lead in a circle"):
        read_document(tmp_path / "a.json")

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("pathlib.Path.read_bytes", refused)
    with pytest.raises(StepimpError, match="Permission denied.*Change its permissions"):
        read_document(tmp_path / "c.json")


@pytest.mark.parametrize("kind", sorted(REFERENCE))
def test_the_reference_run_has_no_fault(kind):
    assert document_fault(json.loads(REFERENCE[kind].read_text())) == ""


FAULTS = [
    ("curves", ("rows", 3, "t"), "x", "rows[3].t is 'x', not a finite number"),
    ("curves", ("rows", 3, "t"), None, "rows[3].t is None, not a finite number"),
    ("curves", ("rows", 3), [], "rows[3] is [], not an object"),
    ("curves", ("rows",), [], "rows is empty"),
    ("curves", ("rows",), {}, "rows is {}, not a list"),
    ("curves", ("params", "lights"), "4b", "params.lights is '4b', not a list"),
    ("curves", ("params", "lights"), ["5b"], "blocks lacks '5b'"),
    ("curves", ("blocks", "4b"), 0, "blocks lacks '4b'"),
    ("curves", ("nelbo", 0, "model"), 4, "nelbo[0].model is 4, not a string"),
    ("recommend", ("params", "by"), "x", "params.by is 'x', not 'kl' or 'loss' or 'nelbo'"),
    ("recommend", ("boundaries", "moves"), 5, "boundaries.moves is 5, not a list"),
    ("recommend", ("boundaries",), [], "boundaries is [], not an object"),
    ("compare", ("provenance", "fingerprints"), [], "provenance.fingerprints is [], not an object"),
    ("compare", ("per_sample",), {"H10": {"log_ppl": ["x"]}}, "per_sample.H10.log_ppl[0] is 'x'"),
    ("compare", ("per_sample",), {"H": {"a": [1]}, "L": {"a": [1, 2]}}, "has [1, 2] values"),
    ("policies", ("params", "judge"), None, "params.judge is None, not a string"),
    ("search", ("rows", 0, "samples"), 1.5, "rows[0].samples is 1.5, not a whole number"),
    ("search", ("influence", 3, "influence_ppl"), None, "influence[3].influence_ppl is None, not"),
    ("search", ("rows", 3, "segments"), "x", "rows[3].segments is 'x', not 10 letters H or L"),
    ("search", ("log_ppl", "HHHHHHLLLL", 0), 2000, "log_ppl.HHHHHHLLLL holds a value beyond 700"),
    ("search", ("log_ppl", "x"), [1.0], "a key of log_ppl is 'x', not 10 letters H or L"),
    ("profile", ("rows", 0, "seconds"), "1", "rows[0]"),
]


@pytest.mark.parametrize("kind, path, value, message", FAULTS)
def test_a_fault_names_the_field(kind, path, value, message):
    document = copy.deepcopy(json.loads(REFERENCE[kind].read_text()))
    inside = document
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    assert message in document_fault(document)


def test_a_row_without_a_column_is_a_fault():
    document = json.loads(REFERENCE["curves"].read_text())
    del document["rows"][1]["kl_nats_low"]
    assert document_fault(document) == "rows[1] lacks 'kl_nats_low'"


def test_the_words_of_a_command_line():
    assert command_of({"provenance": {"command_line": "stepimp kl --data 'a b'"}}) == [
        *["stepimp", "kl", "--data", "a b"]
    ]
    assert command_of({"provenance": {"command_line": "stepimp 'kl"}}) == []
    assert command_of({"provenance": {}}) == []


def test_a_recommendation_says_how_deep_its_models_are():
    document = json.loads(REFERENCE["recommend"].read_text())
    del document["blocks"]
    assert document_fault(document) == "it lacks 'blocks'"


def test_a_cascade_has_a_threshold_and_steps_or_none():
    document = json.loads(REFERENCE["curves"].read_text()) | {"command": "cascade"}
    document["params"] |= {"budget": 0.25, "steps": None}
    row = {c.name: "cascade" if c.type is str else 0.5 for c in columns(CascadeRow)}
    document["rows"] = [row]
    assert document_fault(document) == ""
    del document["params"]["steps"]
    assert document_fault(document) == "params lacks 'steps'"
    document["params"]["steps"] = 8
    del row["threshold_nats"]
    assert document_fault(document) == "rows[0] lacks 'threshold_nats'"


def test_what_is_not_a_file_is_skipped_with_a_warning(tmp_path, caplog):
    shutil.copy(REFERENCE["curves"], tmp_path / "curves-whole.json")
    (tmp_path / "curves-folder.json").mkdir()
    (tmp_path / "curves-gone.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "curves-circle.json").symlink_to(tmp_path / "curves-circle.json")
    os.mkfifo(tmp_path / "curves-pipe.json")
    with caplog.at_level(logging.WARNING, "stepimp"):
        (header,) = headers_in(tmp_path, ("curves",))
    assert header["path"] == str(tmp_path / "curves-whole.json")
    for name in ("folder", "gone", "circle", "pipe"):
        assert f"curves-{name}.json" in caplog.text
