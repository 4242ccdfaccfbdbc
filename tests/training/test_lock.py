"""Two runs at once in one folder."""

import os
import subprocess
import sys
import time

import pytest
from small_training import train

from stepimp.errors import StepimpError
from stepimp.scratch import replacing
from stepimp.training.lock import locked

HOLDER = """
import sys, time
from pathlib import Path
from stepimp.training.lock import locked
with locked(Path(sys.argv[1]), "train"):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_training_says_who_holds_the_folder_and_touches_nothing(
    tmp_path, tiny_text, holder
):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StepimpError, match=rf"trained into by process {holder.pid} on .+ since 2"):
        train(tmp_path, tiny_text)
    assert sorted(tmp_path.iterdir()) == before


def test_a_killed_process_lets_the_lock_go(tmp_path, holder):
    holder.kill()
    holder.wait()
    with locked(tmp_path, "train"):
        pass
    assert not list(tmp_path.iterdir())


def test_train_and_judge_have_a_lock_each(tmp_path):
    this_one = pytest.raises(StepimpError, match=f"process {os.getpid()} on")
    with locked(tmp_path, "train"), locked(tmp_path, "judge"), this_one, locked(tmp_path, "train"):
        pass


def test_a_failed_training_lets_the_lock_go(tmp_path):
    with pytest.raises(ValueError), locked(tmp_path, "train"):
        raise ValueError
    with locked(tmp_path, "train"):
        pass


WRITER = """
import sys
from pathlib import Path
from stepimp.results import write_atomically
for _ in range(100):
    write_atomically(Path(sys.argv[1]) / "a.json", sys.argv[2] * 10_000)
"""


def test_processes_that_write_the_same_file_do_not_disturb_each_other(tmp_path):
    command = [sys.executable, "-c", WRITER, tmp_path]
    writers = [subprocess.Popen([*command, letter]) for letter in "ab"]
    while any(writer.poll() is None for writer in writers):
        time.sleep(0.01)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() in ("a" * 10_000, "b" * 10_000)


def test_two_writers_of_one_process_have_two_names(tmp_path):
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        assert first != second and first.parent == second.parent == tmp_path
        first.write_text("1")
        second.write_text("2")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_a_long_name_leaves_room_for_the_scratch_name(tmp_path):
    with replacing(tmp_path / ("a" * 250)) as scratch:
        scratch.write_text("1")
    assert [len(file.name) for file in tmp_path.iterdir()] == [250]
