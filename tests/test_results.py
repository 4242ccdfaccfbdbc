import errno
import json
import os

import pytest

from stepimp import results
from stepimp.documents import read_document
from stepimp.errors import StepimpError
from stepimp.paper.describe import reference_folder
from stepimp.results import Run, in_lines, results_folder, run_key, write_atomically

REFERENCE = reference_folder()
PARAMS = {"seed": 3, "heavy": "12b"}
PRINTS = {"models": {"12b": "0123456789ab"}, "data": "ba9876543210"}


def a_run(folder, command="note", **params):
    return Run(folder, command, {**PARAMS, **params}, PRINTS)


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_document_says_what_it_is_and_where_it_comes_from(tmp_path):
    run = a_run(tmp_path)
    document = run.finish([{"t": 0.5, "kl_nats": float("nan")}], blocks={"12b": 12})
    stored = json.loads(
        run.path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON")
    )
    assert (stored["schema"], stored["command"], stored["params"]) == ("stepimp/1", "note", PARAMS)
    assert stored["rows"] == [{"t": 0.5, "kl_nats": None}] and stored["blocks"] == {"12b": 12}
    assert stored["provenance"].keys() == {
        "version",
        "git_commit",
        "command_line",
        "python",
        "torch",
        "device",
        "dtype",
        "seed",
        "fingerprints",
        "started",
        "wall_seconds",
    }
    assert stored["provenance"]["seed"] == 3 and stored["provenance"]["fingerprints"] == PRINTS
    assert document["path"] == str(run.path) and read_document(run.path)["rows"] == stored["rows"]


def test_a_document_is_json_with_a_line_for_each_row():
    document = {
        "schema": "x",
        "rows": [{"t": 0.5, "x": None}, {"t": 1.0, "x": "é\n"}],
        "none": [],
        "curves": [[1, 2]],
    }
    text = in_lines(document)
    assert json.loads(text) == document and list(json.loads(text)) == list(document)
    assert len(text.splitlines()) == 9 and text.splitlines()[3] == '  {"t": 0.5, "x": null},'


def test_the_command_line_can_be_pasted_into_a_shell(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/stepimp", "generate", "--prefix", "The module "])
    assert a_run(tmp_path).provenance()["command_line"] == "stepimp generate --prefix 'The module '"


def test_provenance_needs_no_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert a_run(tmp_path).provenance()["git_commit"] is None


def test_provenance_names_the_commit_that_was_there_when_the_run_began(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "git_commit", iter(["before", "after"]).__next__)
    assert a_run(tmp_path).provenance()["git_commit"] == "before"


def test_a_run_is_named_by_command_parameters_models_and_text():
    seed, weights = {**PARAMS, "seed": 4}, {"models": {"12b": "other"}, "data": PRINTS["data"]}
    runs = [
        ("kl", PARAMS, PRINTS),
        ("loss", PARAMS, PRINTS),
        ("kl", seed, PRINTS),
        ("kl", PARAMS, weights),
    ]
    assert len({run_key(*run) for run in runs}) == len(runs)
    assert run_key("kl", dict(reversed(PARAMS.items())), PRINTS) == run_key("kl", PARAMS, PRINTS)


@pytest.mark.parametrize("file", sorted(REFERENCE.glob("*.json")), ids=lambda file: file.stem)
def test_the_reference_run_keeps_its_names(file):
    document = read_document(file)
    fingerprints = document["provenance"]["fingerprints"]
    key = run_key(document["command"], document["params"], fingerprints)
    assert file.name == f"{document['command']}-{key}.json"


def test_where_a_family_and_its_text_lie_does_not_count():
    places = [dict(family=f"/{name}", data=f"/{name}.txt", judge=f"{name}/judge") for name in "ab"]
    bundled = dict(family=None, data="docs", judge="docs/judge")
    keys = [run_key("kl", PARAMS | place, PRINTS) for place in [*places, bundled]]
    assert keys[0] == keys[1] != keys[2]
    other = run_key("kl", PARAMS | places[0], PRINTS | {"data": "other"})
    assert other != keys[0]


def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path):
    for text in ("old", "new"):
        write_atomically(tmp_path / "a.json", text)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.json", "new")]


@pytest.mark.parametrize("where", ["builtins.open", "os.fsync", "os.replace"])
def test_a_full_disk_keeps_the_old_file_and_leaves_no_scratch(tmp_path, monkeypatch, where):
    write_atomically(tmp_path / "a.json", "old")
    with (
        monkeypatch.context() as patch,
        pytest.raises(StepimpError, match="a.json.*No space left on device.*choose another folder"),
    ):
        patch.setattr(where, no_space)
        write_atomically(tmp_path / "a.json", "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.json", "old")]


def test_a_document_on_a_full_disk_is_written_whole_or_not_at_all(tmp_path, full_disk):
    write_atomically(tmp_path / "a.json", "old")
    with full_disk(1000), pytest.raises(StepimpError, match="File too large"):
        write_atomically(tmp_path / "a.json", "x" * 100_000)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.json", "old")]


def test_a_folder_is_made_and_found_writable(tmp_path):
    assert results_folder(tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_found_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below", "/proc", "/proc/results"):
        with pytest.raises(StepimpError, match=f"Cannot write to {out}.*Choose another folder"):
            a_run(out)


def test_a_resumed_journal_holds_what_was_finished(tmp_path):
    first = a_run(tmp_path).journal()
    first.add("0:32", [1.5, None])
    first.add("32:64", {"a": 2})
    again = a_run(tmp_path).journal()
    assert again.done == first.done == {"0:32": [1.5, None], "32:64": {"a": 2}}
    again.add("64:96", 3)
    assert list(a_run(tmp_path).journal().done) == ["0:32", "32:64", "64:96"]


def test_a_finished_run_leaves_no_journal(tmp_path):
    run = a_run(tmp_path)
    run.journal().add("0", 1)
    run.finish([])
    assert [file.name for file in tmp_path.iterdir()] == [run.path.name]


def test_importing_results_loads_no_torch(python):
    assert python("import sys; import stepimp.results; print('torch' in sys.modules)") == "False\n"
