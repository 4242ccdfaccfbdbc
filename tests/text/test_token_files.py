"""Files of tokens: a run that was killed is resumed, and nothing but whole files is read."""

import logging

import numpy as np
import pytest

from stepimp.errors import StepimpError
from stepimp.text import blocks, encoding, token_files
from stepimp.text.blocks import characters, load_blocks, load_documents, train_tokenizer
from stepimp.text.token_files import progress_message, write_token_file

PARTS = [[(f"piece {number} é", number % 3 == 0)] for number in range(9)]
KILLED = 6  # number of the part in which a run is killed


class Killed(BaseException):
    """As a process ends in the middle of its work."""


def encoder(part):
    """Code points, and -1 after a document."""
    codes = [code for piece, last in part for code in [*map(ord, piece), *([-1] if last else [])]]
    return np.array(codes, dtype=np.int32)


def tokens_of(path):
    return np.fromfile(path, np.int32).tolist()


EXPECTED = [code for part in PARTS for code in encoder(part).tolist()]


@pytest.fixture(autouse=True)
def noted_after_each_part(monkeypatch):
    monkeypatch.setattr(token_files, "EVERY", -1.0)


def test_a_full_disk_is_said_to_be_full(tmp_path, full_disk):
    with full_disk(20), pytest.raises(StepimpError, match="File too large.*Free .*STEPIMP_CACHE"):
        write_token_file(tmp_path / "a.tokens", PARTS, encoder, 0)


@pytest.fixture
def killed(tmp_path):
    """The path of a token file whose run was killed."""
    path = tmp_path / "a.tokens"

    def parts():
        yield from PARTS[:KILLED]
        raise Killed

    with pytest.raises(Killed):
        write_token_file(path, parts(), encoder, 0)
    assert not path.exists()
    return path


def resume(path):
    """The parts that a second run encodes; checks the tokens of all."""
    encoded = []
    write_token_file(path, PARTS, lambda part: encoded.append(part) or encoder(part), 0)
    assert tokens_of(path) == EXPECTED
    assert {file.name for file in path.parent.iterdir()} <= {path.name, path.name + ".lock"}
    return encoded


def test_a_killed_run_is_resumed_after_the_last_note(killed):
    assert resume(killed) == PARTS[KILLED:]


def test_tokens_after_the_last_note_are_written_anew(killed):
    with open(f"{killed}.part", "ab") as file:
        file.write(b"half a p")
    assert resume(killed) == PARTS[KILLED:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda part, note: part.unlink(),
        lambda part, note: part.write_bytes(part.read_bytes()[:-4]),
        lambda part, note: note.unlink(),
        lambda part, note: note.write_text(""),
        lambda part, note: note.write_text("6"),
        lambda part, note: note.write_text("6 -4"),
    ],
    ids=["no file", "short file", "no note", "empty note", "half a note", "negative note"],
)
def test_a_note_that_the_file_contradicts_is_not_believed(killed, damage):
    damage(*(killed.with_name(killed.name + end) for end in (".part", ".note")))
    assert resume(killed) == PARTS


def test_blocks_of_a_text_are_the_same_after_a_kill(tmp_path, monkeypatch):
    file = tmp_path / "a.txt"
    file.write_text("".join(f"the model reads {line} tokens\n" for line in range(40)))
    tokenizer = train_tokenizer(str(file), 270)
    monkeypatch.setattr(encoding, "PIECE", 50)
    monkeypatch.setattr(encoding, "TOGETHER", 2)
    folder, token_ids, calls = tmp_path / "killed", blocks.token_ids, []

    def dies(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise Killed
        return token_ids(*arguments)

    def load():
        return load_blocks(str(file), tokenizer, 8, "all").tokens

    monkeypatch.setenv("STEPIMP_CACHE", str(tmp_path / "whole"))
    whole = load()
    monkeypatch.setenv("STEPIMP_CACHE", str(folder))
    monkeypatch.setattr(blocks, "token_ids", dies)
    with pytest.raises(Killed):
        load()
    assert len(list(folder.glob("*.note"))) == 1
    assert load().equal(whole)
    assert not list(folder.glob("*.note")) and not list(folder.glob("*.part"))


def test_progress_is_in_characters_with_the_time_left(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(token_files, "MANY", 0)
    write_token_file(tmp_path / "a", PARTS, encoder, sum(len(part[0][0]) for part in PARTS))
    assert len(caplog.messages) == len(PARTS)
    assert "about 0 s left" in caplog.messages[-1]
    # This run did 20 of the 30 million characters in 10 s: 70 are left.
    assert progress_message(30_000_000, 100_000_000, 20_000_000, 10.0) == (
        "Tokenizing: 30 of 100 million characters, about 35 s left."
    )


@pytest.mark.parametrize("split", ["all", "train", "heldout"])
def test_the_characters_of_a_corpus(tmp_path, split):
    (tmp_path / "a.txt").write_text("é model reads\n" * 40, "utf-8")
    documents = load_documents(str(tmp_path / "a.txt"), split)
    assert characters(documents) == sum(map(len, documents["text"])) > 0
