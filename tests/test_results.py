import errno
import json
import os

import pytest

from stepimp import results
from stepimp.errors import StepimpError
from stepimp.results import (
    Journal,
    Run,
    in_lines,
    newest,
    read_document,
    results_folder,
    run_key,
    write_atomically,
)

PARAMS = {"seed": 3, "heavy": "12b"}
PRINTS = {"models": {"12b": "0123456789ab"}, "data": "ba9876543210"}


def a_run(folder, command="kl", **params):
    return Run(folder, command, {**PARAMS, **params}, PRINTS)


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_document_says_what_it_is_and_where_it_comes_from(tmp_path):
    run = a_run(tmp_path)
    document = run.finish([{"t": 0.5, "kl_nats": float("nan")}], blocks={"12b": 12})
    stored = json.loads(
        run.path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON")
    )
    assert (stored["schema"], stored["command"], stored["params"]) == ("stepimp/1", "kl", PARAMS)
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


def test_a_journal_on_a_full_disk_keeps_what_it_had(tmp_path, full_disk):
    journal = Journal(tmp_path / "a.journal", "key")
    with (
        full_disk(1000),
        pytest.raises(StepimpError, match="Free space and run the same command again"),
    ):
        for unit in range(100):
            journal.add(str(unit), "x" * 90)
    kept = Journal(tmp_path / "a.journal", "key")
    assert list(kept.done) == list(journal.done) and len(kept.done) > 5
    kept.add("more", 1)
    assert Journal(tmp_path / "a.journal", "key").done["more"] == 1


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


def test_a_journal_cut_off_anywhere_loses_the_cut_unit_alone(tmp_path):
    path = tmp_path / "a.journal"
    journal = Journal(path, "key")
    for unit in ("a", "b"):
        journal.add(unit, 1)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        kept = Journal(path, "key").done
        lines = whole[:end].count(b"\n")
        assert list(kept) == ["a", "b"][: max(0, lines - 1)]
        assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:lines])


def test_two_processes_that_began_a_journal_at_once_leave_a_whole_one(tmp_path):
    journals = [Journal(tmp_path / "a.journal", "key") for _ in range(2)]
    for n, journal in enumerate(journals):
        journal.add(f"unit {n}", n)
        journal.add("both", 5)
    assert Journal(tmp_path / "a.journal", "key").done == {"unit 0": 0, "both": 5, "unit 1": 1}


def test_a_journal_is_created_with_its_first_unit(tmp_path):
    a_run(tmp_path).journal()
    assert list(tmp_path.iterdir()) == []


DAMAGED = {
    "of another run": b'{"run": "other"}\n{"unit": "a", "result": 1}\n',
    "that is foreign": b"hello\nworld\n",
    "of one foreign line": b"hello",
    "that is binary": b"\x80\x00\n\xff\n",
    "with an unreadable line": b'{"run": "key"}\n{"unit"\n{"unit": "a", "result": 1}\n',
    "with an empty line": b'{"run": "key"}\n\n',
    "with a line that is not a unit": b'{"run": "key"}\n[1]\n',
    "without its first line": b'{"unit": "a", "result": 1}\n',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_journal(tmp_path, content):
    (tmp_path / "a.journal").write_bytes(content)
    with pytest.raises(StepimpError, match="a.journal is damaged or of another run: delete it"):
        Journal(tmp_path / "a.journal", "key")
    assert (tmp_path / "a.journal").read_bytes() == content


def test_the_newest_document_that_matches(tmp_path):
    for age, (command, seed) in enumerate([("kl", 1), ("kl", 2), ("loss", 3), ("kl", 4)]):
        path = a_run(tmp_path, command, seed=seed).finish([])["path"]
        os.utime(path, (1000 - age, 1000 - age))
    assert newest(tmp_path, "kl")["params"]["seed"] == 1
    assert (
        newest(tmp_path, "kl", lambda document: document["params"]["seed"] > 1)["params"]["seed"]
        == 2
    )
    assert newest(tmp_path, "search") is None
    assert newest(tmp_path / "nowhere", "kl") is None


def test_the_newest_of_a_command_is_not_one_whose_name_begins_alike(tmp_path):
    a_run(tmp_path, "kl-extra").finish([])
    assert newest(tmp_path, "kl") is None


UNREADABLE = {
    "truncated": (
        lambda text: text[: len(text) // 2],
        "is truncated or not a results file: delete it",
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
        "not a stepimp results file",
    ),
}


@pytest.mark.parametrize("change, message", UNREADABLE.values(), ids=UNREADABLE)
def test_a_document_that_is(tmp_path, change, message):
    path = a_run(tmp_path).finish([])["path"]
    with open(path, "r+", encoding="utf-8") as file:
        text = change(file.read())
        file.seek(0)
        file.truncate()
        file.write(text)
    for read in (lambda: read_document(path), lambda: newest(tmp_path, "kl")):
        with pytest.raises(StepimpError, match=message):
            read()


def test_a_document_that_is_not_there_or_a_folder_or_not_text(tmp_path):
    with pytest.raises(StepimpError, match="No results file .*missing.json"):
        read_document(tmp_path / "missing.json")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(StepimpError, match="truncated or not a results file"):
        read_document(tmp_path / "a.json")
    with pytest.raises(StepimpError, match="Cannot read .*It is a folder: name a file"):
        read_document(tmp_path)


def test_a_document_that_may_not_be_read_is_not_to_be_deleted(tmp_path, monkeypatch):
    (tmp_path / "a.json").symlink_to(tmp_path / "b.json")
    (tmp_path / "b.json").symlink_to(tmp_path / "a.json")
    with pytest.raises(StepimpError, match="symbolic links lead in a circle"):
        read_document(tmp_path / "a.json")

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("pathlib.Path.read_text", refused)
    with pytest.raises(StepimpError, match="Permission denied.*Change its permissions"):
        read_document(tmp_path / "c.json")


def test_importing_results_loads_no_torch(python):
    assert python("import sys; import stepimp.results; print('torch' in sys.modules)") == "False\n"
