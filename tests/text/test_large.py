"""Text too large for memory: the same tokens as of small text, and measurements that read its
beginning alone.
"""

import gzip
import tracemalloc
from itertools import groupby

import numpy as np
import pytest
import torch
from fakes import jsonl, zstd

from stepimp.errors import StepimpError
from stepimp.text import blocks, encoding, large, tables
from stepimp.text.blocks import load_blocks, load_documents, train_tokenizer
from stepimp.text.cache import contents
from stepimp.text.encoding import pieces, plain_encoder

LENGTH = 16
LINES = [f"the model reads líne {line} of its tokens\n" for line in range(400)]
TEXT = "".join(LINES)


@pytest.fixture(scope="module")
def tokenizer(tiny_text):
    return train_tokenizer(str(tiny_text), 270)


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch, tmp_path):
    monkeypatch.setenv("STEPIMP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(large, "LARGE", 100)
    monkeypatch.setattr(large, "FRAGMENT", 101)
    monkeypatch.setattr(blocks, "HEAD", 1000)
    monkeypatch.setattr(tables, "BATCH", 500)
    monkeypatch.setattr(encoding, "PIECE", 50)
    monkeypatch.setattr(encoding, "AROUND", 20)


def read(path, split, characters=None):
    """The documents of a split, each as a whole."""
    rows = blocks.rows_of(load_documents(str(path), split, characters=characters))
    return ["".join(text for _, text in part) for _, part in groupby(rows, lambda row: row[0])]


def tokens_of(path, tokenizer, split="all", sequences=None):
    return load_blocks(str(path), tokenizer, LENGTH, split, sequences=sequences).tokens


def write(path, text=TEXT):
    compress = {".gz": gzip.compress, ".zst": zstd}.get(path.suffix, bytes)
    path.write_bytes(compress(text.encode()))
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.zst"])
def test_the_last_tenth_of_a_text_file_is_held_out_from_a_line_on(tmp_path, name):
    file = write(tmp_path / name)
    (train,), (held_out,) = read(file, "train"), read(file, "heldout")
    assert [train + held_out] == read(file, "all") == [TEXT]
    assert train.endswith("\n") and 0.88 < len(train) / len(TEXT) < 0.92


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.zst"])
@pytest.mark.parametrize("split", ["heldout", "all"])
def test_a_compressed_file_that_is_cut_short_is_named(tmp_path, split, name):
    file = write(tmp_path / name)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(StepimpError, match=f"Cannot read .*{name}"):
        read(file, split)


def test_without_line_breaks_the_cut_is_between_two_characters(tmp_path):
    text = "é" * 999
    file = write(tmp_path / "a.txt", text)
    assert read(file, "train") + read(file, "heldout") == ["é" * 899, "é" * 100]


def test_line_ends_and_a_byte_order_mark_are_read_as_in_small_text(tmp_path, monkeypatch):
    text = "\ufeff" + TEXT.replace("\n", "\r\n") + "\rlast\r"
    file = write(tmp_path / "a.txt", text)
    streamed = read(file, "all")
    monkeypatch.setattr(large, "LARGE", 10**9)
    assert streamed == read(file, "all") == [TEXT + "\nlast\n"]


@pytest.mark.parametrize("count", [3, 60])
@pytest.mark.parametrize("split", ["train", "heldout", "all"])
def test_rows_are_split_as_those_of_small_files(tmp_path, monkeypatch, count, split):
    file = jsonl(tmp_path / "a.jsonl", [f"document {row}: {TEXT[:row]}" for row in range(count)])
    streamed = read(file, split)
    monkeypatch.setattr(large, "LARGE", 10**9)
    assert streamed == read(file, split)


def test_files_of_a_folder_are_held_out_by_number(tmp_path):
    for number in range(30):
        write(tmp_path / f"{number:02}.txt", f"{number} {TEXT}")
    numbers = [int(text.split()[0]) for text in read(tmp_path, "heldout")]
    assert numbers == [number for number in range(30) if large.split_of(str(number)) == "heldout"]


@pytest.mark.parametrize("vocabulary", [260, 300])
def test_the_tokens_are_those_of_the_whole_text(tmp_path, tokenizer, vocabulary):
    file = write(tmp_path / "a.txt")
    tokenizer = train_tokenizer(str(file), vocabulary)
    stream = torch.from_numpy(np.array(encoding.encode(tokenizer, [TEXT])[0]))
    tokens = tokens_of(file, tokenizer).flatten()
    assert tokens.equal(stream[: len(tokens)].int()) and len(stream) - len(tokens) < LENGTH


def test_pieces_do_not_depend_on_the_fragments(tokenizer):
    encoder = plain_encoder(tokenizer)
    whole = list(pieces([TEXT], encoder))
    for size in (7, 60, 1001):
        fragments = [TEXT[start : start + size] for start in range(0, len(TEXT), size)]
        assert list(pieces(fragments, encoder)) == whole
    assert max(len(piece) for piece, _ in whole) <= encoding.PIECE


@pytest.mark.parametrize("text", ["x" * 9000, "word " * 2000, TEXT + "x" * 700 + TEXT])
def test_a_stretch_without_a_clean_cut_is_bounded(tokenizer, monkeypatch, text):
    monkeypatch.setattr(encoding, "LONGEST", 400)
    fragments = [text[start : start + 90] for start in range(0, len(text), 90)]
    parts = list(pieces(fragments, plain_encoder(tokenizer)))
    assert "".join(piece for piece, _ in parts) == text
    assert max(len(piece) for piece, _ in parts) <= 800
    assert [last for _, last in parts] == [False] * (len(parts) - 1) + [True]


@pytest.mark.parametrize("split", ["heldout", "all"])
def test_a_measurement_reads_the_beginning_of_its_split_alone(tmp_path, tokenizer, split):
    unread = b"\xff" * 100_000 + b"\n"  # not UTF-8: reading it raises
    text = TEXT.encode()
    around = (unread * 9, b"") if split == "heldout" else (b"", unread * 9)
    file = tmp_path / "a.txt"
    file.write_bytes(around[0] + text + b"the end\n" * 12_000 + around[1])
    first = tokens_of(file, tokenizer, split, 10)
    assert len(first) >= 10 and tokenizer.decode(first[0]) in TEXT
    with pytest.raises(StepimpError, match="not UTF-8"):
        tokens_of(file, tokenizer, "train" if split == "heldout" else "all")


def test_more_sequences_take_a_longer_beginning(tmp_path, tokenizer):
    file = write(tmp_path / "a.txt")
    whole = tokens_of(file, tokenizer)
    few, more = (tokens_of(file, tokenizer, "all", count) for count in (10, len(whole) // 2))
    assert 10 <= len(few) < len(whole) // 4 and len(more) >= len(whole) // 2
    assert few[:-1].equal(whole[: len(few) - 1])  # the last one ends with end-of-text
    assert len(tokens_of(file, tokenizer, "all", 10 * len(whole))) == len(whole)


def test_memory_does_not_grow_with_the_text(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(large, "FRAGMENT", 4000)
    monkeypatch.setattr(encoding, "PIECE", 1000)
    peaks = []
    for repeated in (1, 20, 60):  # the first to import what is needed
        file = write(tmp_path / f"{repeated}.txt", TEXT * repeated)
        tracemalloc.start()
        tokens_of(file, tokenizer)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < len(TEXT)


def test_the_cache_shows_what_a_large_text_has_left_there(tmp_path, tokenizer):
    tokens_of(write(tmp_path / "a.txt"), tokenizer)
    assert {kind.name for kind in contents()} == {"text", "tokens"}


def test_a_tokenizer_of_a_large_text_sees_some_of_it_from_everywhere(tmp_path, monkeypatch):
    documents = load_documents(str(write(tmp_path / "a.txt")), "train")
    monkeypatch.setattr(blocks, "TOKENIZER_CHARACTERS", blocks.characters(documents) // 4 + 1)
    texts = [text for _, text in blocks.rows_of(documents)]
    assert list(blocks.some_texts(documents)) == texts[::4] and len(texts) > 100
