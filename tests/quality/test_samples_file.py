"""Samples files: what `generate` writes, and what people bring."""

import json

import pytest

from stepimp.errors import StepimpError
from stepimp.quality.samples_file import read_samples, split_prefix
from stepimp.results import Run


def write(folder, *lines, name="own.jsonl"):
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return folder / name


def test_lines_need_a_text_alone(tmp_path):
    samples = read_samples(write(tmp_path, {"text": "a b"}, {"text": "c d", "prefix": "c"}))
    assert (samples.prefixes, samples.texts, samples.tokens, samples.document) == (
        ["", "c"],
        ["a b", " d"],
        None,
        None,
    )


def test_a_byte_order_mark_is_no_text(tmp_path):
    file = write(tmp_path, {"text": "a"})
    file.write_text(file.read_text("utf-8"), "utf-8-sig")
    assert read_samples(file).texts == ["a"]


def test_tokens_count_if_all_lines_have_them(tmp_path):
    assert read_samples(
        write(tmp_path, {"text": "a", "tokens": [1]}, {"text": "", "tokens": []})
    ).tokens == [[1], []]
    assert read_samples(write(tmp_path, {"text": "a", "tokens": [1]}, {"text": "b"})).tokens is None


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_the_document_of_generate_knows_the_prefix(tmp_path, suffix):
    models = {"schedule": "H4", "heavy": "2b", "light": None, "family": None}
    run = Run(tmp_path, "generate", {"prefix": "The module", "seed": 0} | models, {})
    name = run.path.with_suffix(".jsonl").name
    write(tmp_path, {"text": "The module is", "tokens": [1, 2]}, name=name)
    run.finish([{"schedule": "H4", "samples": 1, "length": 2, "samples_file": name}])
    samples = read_samples(run.path.with_suffix(suffix))
    assert (samples.prefixes, samples.texts, samples.path.name) == (["The module"], [" is"], name)
    assert samples.document["params"]["seed"] == 0


def test_a_character_split_between_prefix_and_text_belongs_to_the_text():
    cut = "é".encode()[:1].decode(errors="replace")
    assert split_prefix("café au lait", "caf" + cut) == ("caf", "é au lait")
    assert split_prefix("abc", "") == ("", "abc")


BAD = {
    "no file": (None, "No samples file"),
    "an empty file": (b"\n", "holds no samples"),
    "a file that is not JSON": (b'{"text": "a"}\n{"text": ', "line 2, is not valid JSON"),
    "a line without text": (b'{"tokens": [1]}', "line 1, is not a sample"),
    "a line that is not an object": (b"[1]", "is not a sample"),
    "tokens that are none": (b'{"text": "a", "tokens": "b"}', "is not a sample"),
    "a file that is not UTF-8": (b'{"text": "\xe9"}', "as UTF-8 text"),
}


@pytest.mark.parametrize("content, message", BAD.values(), ids=BAD)
def test_what_is_no_samples_file(tmp_path, content, message):
    if content is not None:
        (tmp_path / "own.jsonl").write_bytes(content)
    with pytest.raises(StepimpError, match=message):
        read_samples(tmp_path / "own.jsonl")


def test_a_document_of_another_command_names_no_samples(tmp_path):
    document = Run(tmp_path, "note", {}, {}).finish([{"t": 1}])
    with pytest.raises(StepimpError, match="names no samples"):
        read_samples(document["path"])


def test_the_text_may_be_in_another_column(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"data": {"out": "a b"}, "text": 3}\n{"data": {"out": "c"}}\n')
    assert read_samples(file, "data.out").texts == ["a b", "c"]
    with pytest.raises(StepimpError, match="line 1, has no column 'data.in'"):
        read_samples(file, "data.in")
