"""Large datasets of the hub, of which a measurement reads the beginning of its split alone.

A local folder of parquet files stands in for the hub; what must not be read is overwritten, so that
reading it raises.
"""

import shutil
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from fakes import jsonl

from stepimp.errors import StepimpError
from stepimp.text import blocks, hub, hub_beginning, large
from stepimp.text.blocks import load_blocks, load_documents, train_tokenizer

DATA = "some/where"
LINES = [f"document {number}: the model reads its tokens\n" for number in range(60)]
SHARDS = [LINES[start : start + 10] for start in range(0, 60, 10)]
ALL = 10**9  # characters


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch, tmp_path):
    monkeypatch.setenv("STEPIMP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setattr(large, "LARGE", 100)
    monkeypatch.setitem(hub.ALIASES, DATA, str(tmp_path / "hub"))


@pytest.fixture
def parquet(tmp_path):
    """A function (**shards of each split) that makes a dataset, and returns its files by name."""

    def make(**splits):
        (tmp_path / "hub").mkdir()
        files = {}
        for name, shards in splits.items():
            for number, texts in enumerate(shards):
                file = f"{name}-{number:05}-of-{len(shards):05}.parquet"
                files[f"{name} {number}"] = tmp_path / "hub" / file
                table = pyarrow.table({"id": range(len(texts)), "text": texts})
                pyarrow.parquet.write_table(table, files[f"{name} {number}"])
        return files

    return make


def overwrite(file: Path):
    """Leaves a parquet file its footer, which says how many rows there are."""
    data = file.read_bytes()
    size = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    file.write_bytes(data[:4] + b"\xff" * (size - 4) + data[size:])


def read(split, characters=ALL):
    documents = load_documents(DATA, split, characters=characters)
    return list(documents["name"]), list(documents["text"])


@pytest.mark.parametrize("own", [True, False], ids=["test split", "no test split"])
@pytest.mark.parametrize("split", ["train", "heldout", "all"])
def test_documents_are_held_out_as_of_a_small_dataset(parquet, monkeypatch, split, own):
    parquet(train=SHARDS, **({"test": [["t", "u"]]} if own else {}))
    streamed = read(split)
    monkeypatch.setattr(large, "LARGE", ALL)
    assert streamed == read(split)
    assert (
        len(streamed[0])
        == {"train": 60 if own else 54, "heldout": 2 if own else 6, "all": 60}[split]
    )


def test_what_a_measurement_does_not_need_is_not_read(parquet, monkeypatch):
    files = parquet(train=SHARDS, test=SHARDS)
    for name in ("train 2", "train 5", "test 0", "test 1"):
        overwrite(files[name])
    assert read("train", sum(map(len, LINES[:15])))[1] == LINES[:15]
    with pytest.raises(StepimpError, match="Cannot load 'some/where'"):
        read("train")
    with pytest.raises(StepimpError, match="Cannot load 'some/where'"):
        read("heldout", 1)


@pytest.mark.parametrize("counted", [True, False], ids=["by its card", "by its files"])
def test_the_last_documents_are_found_without_those_before(parquet, monkeypatch, counted):
    files = parquet(train=SHARDS)
    if counted:
        card = (
            "dataset_info:\n  splits:\n  - name: train\n    num_examples: 60\n    num_bytes: 2600"
        )
        (files["train 0"].parent / "README.md").write_text(f"---\n{card}\n---\n")
    for number in range(5):
        overwrite(files[f"train {number}"])
    counts = []
    count_rows = hub_beginning.parquet_rows
    monkeypatch.setattr(
        hub_beginning, "parquet_rows", lambda file: counts.append(file) or count_rows(file)
    )
    assert read("heldout") == ([str(number) for number in range(54, 60)], LINES[54:])
    assert len(counts) == (1 if counted else 7)


def test_blocks_come_from_as_much_as_they_need(parquet, tiny_text, monkeypatch):
    monkeypatch.setattr(blocks, "HEAD", 50)
    files = parquet(train=SHARDS)
    overwrite(files["train 4"])
    tokenizer = train_tokenizer(str(tiny_text), 270)
    few, more = (load_blocks(DATA, tokenizer, 16, "train", sequences=n) for n in (2, 20))
    assert 2 <= len(few.tokens) < 20 <= len(more.tokens)
    with pytest.raises(StepimpError, match="Cannot load"):
        load_blocks(DATA, tokenizer, 16, "train", sequences=200)


def test_a_downloaded_dataset_is_read_from_the_cache_offline(parquet, monkeypatch, tmp_path):
    parquet(train=SHARDS)
    streamed = [read(split, 300) for split in ("train", "heldout", "all")]
    builder = hub.open_builder(DATA)
    builder.download_and_prepare()
    cached = tmp_path / "datasets" / "some___where" / Path(*Path(builder.cache_dir).parts[-3:])
    shutil.copytree(builder.cache_dir, cached)
    (cached / "hub-train.arrow").rename(cached / "where-train.arrow")
    shutil.rmtree(tmp_path / "hub")
    monkeypatch.delitem(hub.ALIASES, DATA)
    assert type(hub.open_builder(DATA)).__name__ == "Cache"
    assert [read(split, 300) for split in ("train", "heldout", "all")] == streamed


def test_json_without_a_test_split_is_read_as_a_whole(tmp_path, monkeypatch):
    (tmp_path / "hub").mkdir()
    jsonl(tmp_path / "hub" / "train.jsonl", LINES)
    assert read("all", sum(map(len, LINES[:2])))[1] == LINES[:2]
    assert read("heldout", 1)[1] == LINES[54:]


def test_a_column_that_is_not_there_is_named(parquet):
    parquet(train=SHARDS)
    with pytest.raises(StepimpError, match="some/where, document 0 has no column 'body'.*id, text"):
        load_documents(DATA, "train", "body", 10)
