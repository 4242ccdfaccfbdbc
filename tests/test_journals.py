"""A journal keeps finished work through kills, and refuses what it did not write."""

import fcntl
import threading

import pytest

from stepimp.errors import StepimpError
from stepimp.journals import Journal


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
        Journal(path, "key").add("c", 1)
        assert Journal(path, "key").done == dict.fromkeys([*kept, "c"], 1)


def test_a_line_that_another_run_is_writing_is_not_cut_off_by_a_reader(tmp_path):
    path = tmp_path / "a.journal"
    Journal(path, "key").add("a", 1)
    with open(path, "ab", buffering=0) as other:
        other.write(b'{"unit": "b", ')
        assert Journal(path, "key").done == {"a": 1}
        other.write(b'"result": 2}\n')
    assert Journal(path, "key").done == {"a": 1, "b": 2}


def test_a_unit_waits_for_the_line_that_another_run_is_writing(tmp_path):
    path = tmp_path / "a.journal"
    Journal(path, "key").add("a", 1)
    with open(path, "ab", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(b'{"unit": "b", ')
        adding = threading.Thread(target=Journal(path, "key").add, args=("c", 3))
        adding.start()
        adding.join(0.1)
        other.write(b'"result": 2}\n')
    adding.join()
    assert Journal(path, "key").done == {"a": 1, "b": 2, "c": 3}


def test_a_journal_that_another_run_finished_and_removed_begins_anew(tmp_path):
    path = tmp_path / "a.journal"
    journal = Journal(path, "key")
    journal.add("a", 1)
    path.unlink()
    journal.add("b", 2)
    assert Journal(path, "key").done == {"b": 2}


def test_two_processes_that_began_a_journal_at_once_leave_a_whole_one(tmp_path):
    journals = [Journal(tmp_path / "a.journal", "key") for _ in range(2)]
    for n, journal in enumerate(journals):
        journal.add(f"unit {n}", n)
        journal.add("both", 5)
    assert Journal(tmp_path / "a.journal", "key").done == {"unit 0": 0, "both": 5, "unit 1": 1}


def test_a_journal_is_created_with_its_first_unit(tmp_path):
    Journal(tmp_path / "a.journal", "key")
    assert list(tmp_path.iterdir()) == []


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
    with pytest.raises(StepimpError, match="a.journal is damaged or of another.*: move it away"):
        Journal(tmp_path / "a.journal", "key")
    assert (tmp_path / "a.journal").read_bytes() == content


def below_ten(unit, result):
    return "" if isinstance(result, int) and result < 10 else f"{unit} is not below ten"


def test_a_result_that_the_check_objects_to_is_named_by_its_line(tmp_path):
    path = tmp_path / "a.journal"
    journal = Journal(path, "key")
    journal.add("a", 1)
    journal.add("b", 20)
    with pytest.raises(StepimpError, match=r"\(line 3: b is not below ten\): move it away"):
        Journal(path, "key", below_ten)
    assert Journal(path, "key").done == {"a": 1, "b": 20}
