"""Files as people have them: all kinds are read, and nothing is dropped without a word."""

import csv
import gzip
import io
import json
import logging
import os

import datasets
import pytest
from fakes import jsonl, zstd

from stepimp.errors import StepimpError
from stepimp.text import files
from stepimp.text.blocks import load_blocks, load_documents, train_tokenizer
from stepimp.text.pipes import save_pipe, save_stream

LENGTH = 16
TEXTS = [f'the model "number" {i}, reads\n\na token. ' * 4 for i in range(5)]


@pytest.fixture(scope="module")
def tokenizer(tiny_text):
    return train_tokenizer(str(tiny_text), 270)


def read(path, column="text"):
    return load_documents(str(path), "all", column)["text"][:]


def write_csv(path, texts, delimiter=","):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([["id", "text"], *enumerate(texts)])


def write_parquet(path, texts):
    columns = {"text": texts, "url": ["x"] * len(texts)}
    datasets.Dataset.from_dict(columns).to_parquet(path)


def compressed(path, texts):
    lines = "".join(json.dumps({"text": text, "id": 3}) + "\n" for text in texts)
    path.write_bytes(gzip.compress(lines.encode()))


WRITERS = {
    "a.jsonl": jsonl,
    "a.JSONL": jsonl,
    "a.ndjson": jsonl,
    "a.jsonl.gz": compressed,
    "a.Jsonl.GZ": compressed,
    "list.json": lambda path, texts: path.write_text(json.dumps([{"text": t} for t in texts])),
    "pretty.json": lambda path, texts: path.write_text(
        json.dumps([{"text": text} for text in texts], indent=1)
    ),
    "a.csv": write_csv,
    "a.tsv": lambda path, texts: write_csv(path, texts, "\t"),
    "a.parquet": write_parquet,
    "a[1].jsonl": jsonl,
    "a::b.jsonl": jsonl,
    "a*?.jsonl": jsonl,
}


@pytest.mark.parametrize("name", WRITERS)
def test_rows_are_read_whole_and_in_order(tmp_path, name):
    WRITERS[name](tmp_path / name, TEXTS)
    jsonl(tmp_path / "a1.jsonl", ["another file, which a pattern [1] would match"])
    assert read(tmp_path / name) == TEXTS


@pytest.mark.parametrize("name", ["a.txt", "a.TXT", "notes[1].txt", "a::b.txt", "README", "a.md"])
def test_a_text_file_is_one_document(tmp_path, name):
    (tmp_path / "notes1.txt").write_text("another file")
    (tmp_path / name).write_text(TEXTS[0], "utf-8")
    assert read(tmp_path / name) == TEXTS[:1]


def test_a_byte_order_mark_is_no_text(tmp_path):
    for name, content in [("a.txt", "é"), ("a.jsonl", '{"text": "é"}'), ("a.csv", "text\né\n")]:
        (tmp_path / name).write_bytes(content.encode("utf-8-sig"))
        assert read(tmp_path / name) == ["é"]


def test_a_folder_is_read_with_its_sub_folders_and_says_what_it_skips(tmp_path, caplog):
    folder = tmp_path / "set[1]"
    (folder / "sub" / ".git").mkdir(parents=True)
    (folder / "sub" / "b.txt").write_text("second")
    (folder / "a.jsonl").write_text('{"text": "first", "url": "x"}\n')
    for name in ("sub/.git/c.txt", ".hidden.txt", "old.txt~", "d.pdf", "e.PDF", "Makefile"):
        (folder / name).write_text("never")
    with caplog.at_level(logging.INFO, "stepimp"):
        assert read(folder) == ["first", "second"]
    assert "skipped 6 files (3 hidden or backup, 2 .pdf, 1 without a suffix)" in caplog.text
    assert "2 documents in 2 files" in caplog.text


def test_a_folder_of_text_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "a.txt").write_text("the text")

    def closed(name):
        return lambda path, mode: path != tmp_path / name

    monkeypatch.setattr(files.os, "access", closed(".hidden"))  # as root may read everything
    assert read(tmp_path) == ["the text"]
    for folder in (tmp_path, tmp_path / "closed"):
        monkeypatch.setattr(files.os, "access", closed(folder))
        with pytest.raises(PermissionError, match=f"Permission denied: '{folder}'"):
            read(tmp_path)


@pytest.mark.parametrize("column", ["content", "data.text", "data.deep.text"])
def test_the_text_column_can_have_another_name_and_be_a_field_of_a_field(tmp_path, column):
    row = TEXTS[0]
    for name in reversed(column.split(".")):
        row = {name: row, "other": 1}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    write_parquet(tmp_path / "b.parquet", ["x"])
    datasets.Dataset.from_list([row]).to_parquet(tmp_path / "c.parquet")
    assert read(tmp_path / "a.jsonl", column) == read(tmp_path / "c.parquet", column) == TEXTS[:1]
    with pytest.raises(StepimpError, match=f"no column '{column}': its columns are text, url"):
        read(tmp_path / "b.parquet", column)


def in_frames(path, texts):
    path.write_bytes(b"".join(zstd(json.dumps({"text": text}).encode() + b"\n") for text in texts))


WRITERS["a.jsonl.zst"] = in_frames


def flipped(content: bytes) -> bytes:
    """A compressed file whose stream is damaged in the middle."""
    return content[:20] + bytes(byte ^ 255 for byte in content[20:90]) + content[90:]


def damaged_pages() -> bytes:
    """A parquet file whose footer is whole and whose first page is not."""
    file = io.BytesIO()
    datasets.Dataset.from_dict({"text": [str(TEXTS * i) for i in range(9)]}).to_parquet(file)
    return file.getvalue()[:60] + b"\xff" * 50 + file.getvalue()[110:]


BAD = {
    "empty.txt": (b"", "is empty"),
    "short.txt": (b"the model", r"short.txt \(all\) has less text than one sequence of 16 tokens"),
    "latin1.txt": ("déjà vu ".encode("latin-1") * 99, "not UTF-8.*iconv"),
    "latin1.jsonl": ('{"text": "é"}\n'.encode("latin-1"), "not UTF-8.*iconv"),
    "latin1.csv": ("text\né\n".encode("latin-1"), "not UTF-8.*iconv"),
    "surrogate.jsonl": (b'{"text": "\\ud800"}\n', "row 1 is not text: .* half of a surrogate pair"),
    "broken.jsonl": (b'{"text": "a"}\n{"te', "Cannot read .*broken.jsonl, line 2 as json"),
    "first.jsonl": (b'{"te\n{"text": "a"}\n', "Cannot read .*first.jsonl as json"),
    "broken.parquet": (b"PAR1", "Cannot read .*broken.parquet as parquet"),
    "pages.parquet": (damaged_pages(), "Cannot read .*pages.parquet after row 0"),
    "blank.jsonl": (b"\n \n\n", "holds no documents"),
    "late.jsonl": (b'\n{"text": "a"}\n{"te', "Cannot read .*late.jsonl, line 3 as json"),
    "flipped.txt.gz": (flipped(gzip.compress(bytes(range(256)) * 9)), "Cannot read .*flipped"),
    "cut.txt.zst": (zstd(bytes(99))[:-9], "Cannot read .*cut.txt.zst after row 0: Truncated"),
    "plain.jsonl.zst": (b'{"text": "a"}\n', "Cannot read .*plain.jsonl.zst"),
    "cut.jsonl.gz": (gzip.compress(b'{"text": "aaa"}\n' * 99)[:40], "Cannot read .*cut.jsonl.gz"),
    "plain.jsonl.gz": (b'{"text": "a"}\n', "Cannot read .*plain.jsonl.gz"),
    "column.jsonl": (b'{"body": "a", "id": 1}\n', "no column 'text': its columns are body, id"),
    "column.csv": (b"a,b\n1,2\n", "no column 'text': its columns are a, b"),
    "quote.csv": (
        b'id,text\n1,"a\nb"\n2,"c\n3,d\n',
        "begins at .*quote.csv, line 4: unexpected end of data. .*quotes inside of it doubled",
    ),
    "inside.csv": (b'text\n"he said "no" there"\n', "inside.csv, line 2: ',' expected after '\"'"),
    "names.csv": (b'"text\na\n', "begins at .*names.csv, line 1: unexpected end"),
    "quote.tsv": (b'text\tid\n"Ten" he said\t1\n', "quote.tsv, line 2: '\t' expected"),
    "commas.csv": (b"id,text\n1,Yes, no\n", "commas.csv, line 2: .* names 2 columns. Put quotes"),
    "number.jsonl": (b'{"text": 3}\n', "row 1: its column 'text' holds 3, not a string"),
    "null.jsonl": (b'{"text": "a"}\n{"text": null}\n', "row 2 has no text"),
    "list.jsonl": (b'["a", "b"]\n', "row 1 is str, not an object"),
    "mixed.jsonl": (b'{"text": "a"}\n["b"]\n', "row 2 is list, not an object"),
    "texts.jsonl": (b'{"text": ["a", "b"]}\n', "holds \\['a', 'b'\\], not a string"),
    "object.jsonl": (b'{"text": {"en": "a"}}\n', "holds {'en': 'a'}, not a string"),
    "types.jsonl": (b'{"text": "a"}\n{"text": 1.5}\n', "row 2: .* holds 1.5, not a string"),
    "string.json": (b'"text"', "row 1 is str, not an object"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(tokenizer, tmp_path, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StepimpError, match=message):
        load_blocks(str(tmp_path / name), tokenizer, LENGTH, "all")


def test_files_and_folders_that_are_not_there(tokenizer, tmp_path):
    with pytest.raises(StepimpError, match="No such file: .*missing.txt.*docs, code"):
        load_blocks(str(tmp_path / "missing.txt"), tokenizer, LENGTH, "all")
    with pytest.raises(StepimpError, match="No text in .*put files ending in .txt"):
        load_blocks(str(tmp_path), tokenizer, LENGTH, "all")


@pytest.mark.parametrize("name", ["./gone", "../gone", "~/gone", "/gone", "a/b/gone", "gone.txt"])
def test_a_path_where_nothing_is_is_not_looked_for_at_the_hub(name):
    with pytest.raises(StepimpError, match=f"No such file: {name}"):
        files.require_there(name)


@pytest.mark.parametrize("name", ["wikitext", "Salesforce/wikitext", "docs", "code"])
def test_a_name_that_may_be_a_dataset_is_not_refused_before_the_hub_is_asked(name):
    files.require_there(name)


@pytest.mark.parametrize("target, said", [("circle", "lead in a circle"), ("gone", "No such file")])
def test_a_link_that_leads_nowhere_is_no_dataset_of_the_hub(tmp_path, target, said):
    (tmp_path / "circle").symlink_to(tmp_path / target)
    with pytest.raises(StepimpError, match=f"Cannot read .*circle.*{said}"):
        read(tmp_path / "circle")


def test_an_empty_stream_is_said_of_the_stream(tmp_path):
    with pytest.raises(StepimpError, match="Nothing came from the standard input"):
        save_stream(io.BytesIO(b""), "the standard input")


def test_json_that_is_nested_too_deeply_is_not_read(tmp_path):
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    with pytest.raises(StepimpError, match="Cannot read .*deep.jsonl as json"):
        read(tmp_path / "deep.jsonl")


def test_a_named_pipe_in_a_folder_is_skipped(tmp_path, caplog):
    (tmp_path / "a.txt").write_text("the text")
    os.mkfifo(tmp_path / "b.txt")
    with caplog.at_level(logging.INFO, "stepimp"):
        assert read(tmp_path) == ["the text"]
    assert "skipped 1 file (1 pipe or device)" in caplog.text


def test_blank_lines_between_rows_and_before_them_do_not_count(tmp_path):
    (tmp_path / "a.jsonl").write_text('\n \n{"text": "a"}\n\n{"text": "b"}\n')
    assert read(tmp_path / "a.jsonl") == ["a", "b"]


def test_a_file_that_changes_while_it_is_read_is_not_kept_under_its_old_name(tmp_path, monkeypatch):
    file = tmp_path / "a.txt"
    file.write_text("old")
    digest = files.file_digest

    def then_written(path):
        name = digest(path)
        path.write_text("a new text")
        return name

    monkeypatch.setattr(files, "file_digest", then_written)
    with pytest.raises(StepimpError, match="a.txt changed while it was read"):
        read(file)
    monkeypatch.undo()
    assert read(file) == ["a new text"]
    file.write_text("old")
    assert read(file) == ["old"]


def test_a_closed_standard_input_is_said_to_be(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(StepimpError, match="standard input is closed"):
        save_pipe("-")


def test_a_pipe_that_fills_the_disk_names_the_folder(full_disk, tmp_path, monkeypatch):
    monkeypatch.setenv("STEPIMP_CACHE", str(tmp_path))
    with full_disk(2000), pytest.raises(StepimpError, match=f"pipe in {tmp_path} .*STEPIMP_CACHE"):
        save_stream(io.BytesIO(bytes(9000)), "a pipe")
    assert list(tmp_path.iterdir()) == []
