import json
import random
import time
from itertools import islice
from types import SimpleNamespace

import datasets
import pytest
import torch
from huggingface_hub import constants

from stepimp import text as library
from stepimp.errors import StepimpError
from stepimp.text import docstrings, load_blocks, load_documents, split_of, train_tokenizer

LENGTH = 16


@pytest.fixture(scope="module")
def tokenizer(tiny_text):
    return train_tokenizer(str(tiny_text), 270)


def jsonl(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return path


def reference_blocks(texts, tokenizer, length):
    """One stream of all documents, each followed by the end-of-text token, cut every `length`
    tokens.
    """
    stream = []
    for text in texts:
        stream += tokenizer.encode(text, add_special_tokens=False) + [tokenizer.eos_token_id]
    return torch.tensor(
        [stream[i : i + length] for i in range(0, len(stream), length) if i + length <= len(stream)]
    )


@pytest.fixture
def some_modules(monkeypatch, tmp_path):
    """A part of the standard library for the whole and one small library for the others, in a cache
    of its own.
    """
    some = list(islice(library.stdlib_sources(), 40))
    monkeypatch.setattr(library, "stdlib_sources", lambda: iter(some))
    monkeypatch.setattr(library, "DOCUMENTED", ("click", "not_installed"))
    monkeypatch.setenv("STEPIMP_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("corpus", ["docs", "code"])
def test_bundled_corpora_split_into_disjoint_documents(corpus, some_modules):
    names = {
        split: load_documents(corpus, split)["name"][:] for split in ("train", "heldout", "all")
    }
    assert set(names["train"]).isdisjoint(names["heldout"])
    assert sorted(names["train"] + names["heldout"]) == sorted(names["all"])
    assert 0.02 < len(names["heldout"]) / len(names["all"]) < 0.3
    assert all(load_documents(corpus, "all")["text"])
    assert ("click/core.py" in names["train"]) == (corpus == "docs")


def test_a_split_of_a_bundled_corpus_reads_its_own_documents_alone(some_modules, monkeypatch):
    read = []
    monkeypatch.setattr(
        library, "read_source", lambda path: read.append(path.name) or '"""A docstring."""'
    )
    assert len(load_documents("code", "heldout")) == len(read) < len(list(library.stdlib_sources()))


def test_a_second_load_reads_no_source_and_tokenizes_nothing(tokenizer, some_modules, monkeypatch):
    first = load_blocks("code", tokenizer, LENGTH, "heldout")
    monkeypatch.setitem(library.BUNDLED, "code", lambda: pytest.fail("read again"))
    no_call = SimpleNamespace(
        backend_tokenizer=tokenizer.backend_tokenizer, eos_token_id=tokenizer.eos_token_id
    )
    again = load_blocks("code", no_call, LENGTH, "heldout")
    assert torch.equal(first.tokens, again.tokens) and first.fingerprint == again.fingerprint


SOURCES = {b'"""\xff"""': "", b"print 'Python 2'": "", b'"of a module"\nx = "\\d"\n': "of a module"}


@pytest.mark.parametrize("source", SOURCES)
def test_a_module_that_cannot_be_read_or_parsed_has_no_docstrings(tmp_path, source, recwarn):
    (tmp_path / "a.py").write_bytes(source)
    assert (
        docstrings(library.read_source(tmp_path / "a.py")) == SOURCES[source] and not recwarn.list
    )


def test_docstrings_stand_in_the_order_of_the_source():
    source = '"""one"""\nclass A:\n  """two"""\n  def f(self):\n    """three"""\nasync def g():\n  """four"""\n'
    assert docstrings(source) == "one\n\ntwo\n\nthree\n\nfour"


@pytest.mark.parametrize("length", [1, 7, LENGTH])
def test_packing_equals_a_plain_reference(tokenizer, tmp_path, length):
    texts = ["light mask", "", "the model runs a step and learns", "é\n\n"] * 3
    blocks = load_blocks(str(jsonl(tmp_path / "a.jsonl", texts)), tokenizer, length, "all")
    assert torch.equal(blocks.tokens, reference_blocks(texts, tokenizer, length))
    assert blocks.tokens.dtype == torch.int64


def write_text(folder, texts):
    (folder / "a.txt").write_text(texts[0], "utf-8")
    return folder / "a.txt", texts[:1]


def write_jsonl(folder, texts):
    return jsonl(folder / "a.jsonl", texts), texts


def write_parquet(folder, texts):
    datasets.Dataset.from_dict({"text": texts, "url": ["x"] * len(texts)}).to_parquet(
        folder / "a.parquet"
    )
    return folder / "a.parquet", texts


def write_folder(folder, texts):
    (folder / "sub").mkdir()
    for i, text in enumerate(texts):
        (folder / "sub" / f"{i}.md").write_text(text, "utf-8")
    (folder / "ignored.csv").write_text("x")
    return folder, texts


@pytest.mark.parametrize("write", [write_text, write_jsonl, write_parquet, write_folder])
def test_files_are_read_whole_and_in_order(tokenizer, tmp_path, write):
    path, texts = write(
        tmp_path, [f"the model number {i}\nreads\n\na token. " * 4 for i in range(5)]
    )
    assert load_documents(str(path), "all")["text"][:] == texts
    blocks = load_blocks(str(path), tokenizer, LENGTH, "all")
    assert torch.equal(blocks.tokens, reference_blocks(texts, tokenizer, LENGTH))


def test_a_digest_tells_apart_where_one_part_ends_and_the_next_begins():
    assert (
        len(
            {
                library.digest("ab", "c"),
                library.digest("a", "bc"),
                library.digest("abc"),
                library.digest("c", "ab"),
            }
        )
        == 4
    )


def test_a_changed_file_is_read_anew(tokenizer, tmp_path):
    file = tmp_path / "a.txt"
    found = []
    for text in ("the model reads " * 20, "a heavy sample of noise " * 20):
        file.write_text(text)
        found.append(load_blocks(str(file), tokenizer, LENGTH, "all"))
    assert found[0].fingerprint != found[1].fingerprint
    assert not torch.equal(found[0].tokens[0], found[1].tokens[0])


def test_fingerprints_depend_on_text_tokenizer_length_and_split(tokenizer, tmp_path):
    texts = ["the model reads a token of the sample " * 20]
    one, other = jsonl(tmp_path / "a.jsonl", texts), jsonl(tmp_path / "b.jsonl", [texts[0] + "."])
    second = train_tokenizer(str(one), 262)
    runs = [
        (one, tokenizer, 16, "all"),
        (other, tokenizer, 16, "all"),
        (one, second, 16, "all"),
        (one, tokenizer, 15, "all"),
        (one, tokenizer, 16, "train"),
    ]
    assert len({load_blocks(str(file), *rest).fingerprint for file, *rest in runs}) == len(runs)
    copy = jsonl(tmp_path / "copy.jsonl", texts)
    assert (
        load_blocks(str(copy), *runs[0][1:]).fingerprint
        == load_blocks(str(one), *runs[0][1:]).fingerprint
    )


def test_many_documents_are_held_out_by_name(tmp_path):
    texts = [f"document {i}" for i in range(60)]
    file = str(jsonl(tmp_path / "a.jsonl", texts))
    split = {name: load_documents(file, name)["text"][:] for name in ("train", "heldout")}
    assert (
        split["heldout"]
        == [text for i, text in enumerate(texts) if split_of(str(i)) == "heldout"]
        != []
    )
    assert sorted(split["train"] + split["heldout"]) == sorted(texts)


def test_of_a_few_documents_the_last_tenth_of_each_is_held_out(tmp_path):
    texts = ["a" * 90 + "b" * 10, "c" * 9 + "d"]
    file = str(jsonl(tmp_path / "a.jsonl", texts))
    assert load_documents(file, "train")["text"][:] == ["a" * 90, "c" * 9]
    assert load_documents(file, "heldout")["text"][:] == ["b" * 10, "d"]


SECRET = "qzxjkvqzxjkv"


@pytest.mark.parametrize("documents", [1, 60])
def test_the_tokenizer_never_sees_held_out_text(tmp_path, documents):
    plain = "the model reads a token of the sample. "
    texts = [plain * 10 + (SECRET * 3 if documents == 1 else "") for _ in range(documents)]
    if documents > 1:
        texts = [
            SECRET * 10 if split_of(str(i)) == "heldout" else text for i, text in enumerate(texts)
        ]
    trained = train_tokenizer(str(jsonl(tmp_path / "a.jsonl", texts)), 300)
    assert not any(SECRET[:2] in token for token in trained.get_vocab())
    assert any("model" in token for token in trained.get_vocab())


def test_the_tokenizer_ends_with_its_mask_token_and_is_lossless(tokenizer):
    assert tokenizer.mask_token_id == len(tokenizer) - 1 == 269
    assert tokenizer.eos_token_id == 0
    text = "Ünïcode, tabs\tand  spaces\n\n"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def hub_dataset(**splits):
    return datasets.DatasetDict(
        {name: datasets.Dataset.from_dict({"text": texts}) for name, texts in splits.items()}
    )


HUB = {
    "its own test split": (dict(train=["a", "b"], validation=["v"], test=["t"]), ["a", "b"], ["t"]),
    "a validation split": (dict(train=["a"], validation=["v"]), ["a"], ["v"]),
    "no other split": (
        dict(train=list("abcdefghijklmnopqrstu")),
        list("abcdefghijklmnopqrs"),
        ["t", "u"],
    ),
}


@pytest.mark.parametrize("splits, train, heldout", HUB.values(), ids=HUB)
def test_a_hub_dataset_with(monkeypatch, splits, train, heldout):
    monkeypatch.setattr(datasets, "load_dataset", lambda name, revision: hub_dataset(**splits))
    assert load_documents("some/where", "train")["text"][:] == train
    assert load_documents("some/where", "heldout")["text"][:] == heldout
    assert load_documents("some/where", "all")["text"][:] == splits["train"]


def test_a_tokenizer_for_a_small_hub_dataset(monkeypatch):
    texts = ["the model reads"] * 30
    monkeypatch.setattr(datasets, "load_dataset", lambda name, revision: hub_dataset(train=texts))
    assert len(train_tokenizer("some/where", 262)) == 262


def test_an_unreachable_hub_fails_fast_and_names_the_way_out(monkeypatch, capfd):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    library.offline_unless_reachable.cache_clear()
    start = time.perf_counter()
    with pytest.raises(StepimpError, match="Cannot load 'some/where'.*--data FILE"):
        load_documents("some/where", "train")
    assert time.perf_counter() - start < 10  # the retries alone would take longer
    assert capfd.readouterr() == ("", "")


def bad_files(folder):
    """file name -> (content, what the message says)"""
    for name, content, message in [
        ("empty.txt", b"", "is empty"),
        (
            "short.txt",
            b"the model",
            r"short.txt \(all\) has less text than one sequence of 16 tokens",
        ),
        ("latin1.txt", "déjà vu ".encode("latin-1") * 99, "not UTF-8.*iconv"),
        ("latin1.jsonl", '{"text": "é"}\n'.encode("latin-1"), "not UTF-8.*iconv"),
        ("broken.jsonl", b'{"text": "a"}\n{"te', "Cannot read .*broken.jsonl as json"),
        ("broken.parquet", b"PAR1", "Cannot read .*broken.parquet as parquet"),
        ("column.jsonl", b'{"body": "a", "id": 1}\n', "no column 'text': its columns are body, id"),
        ("number.jsonl", b'{"text": 3}\n', "'text' holds .*not strings"),
        ("null.jsonl", b'{"text": "a"}\n{"text": null}\n', "1 of its 2 rows have no text"),
    ]:
        (folder / name).write_bytes(content)
        yield name, message


def test_files_that_cannot_be_used_are_named_with_the_reason(tokenizer, tmp_path):
    for name, message in bad_files(tmp_path):
        with pytest.raises(StepimpError, match=message):
            load_blocks(str(tmp_path / name), tokenizer, LENGTH, "all")


def test_a_held_out_part_that_is_too_short_says_so(tokenizer, tmp_path):
    (tmp_path / "a.txt").write_text("the model reads " * 8)
    with pytest.raises(StepimpError, match=r"\(heldout\) has less text than one sequence"):
        load_blocks(str(tmp_path / "a.txt"), tokenizer, LENGTH, "heldout")


def test_files_and_folders_that_are_not_there(tokenizer, tmp_path):
    with pytest.raises(StepimpError, match="No such file: .*missing.txt.*docs, code"):
        load_blocks(str(tmp_path / "missing.txt"), tokenizer, LENGTH, "all")
    with pytest.raises(StepimpError, match="No text in .*put files ending in .txt"):
        load_blocks(str(tmp_path), tokenizer, LENGTH, "all")


def test_a_folder_of_several_kinds_is_refused(tokenizer, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    jsonl(tmp_path / "b.jsonl", ["b"])
    with pytest.raises(StepimpError, match="mixes json and text files"):
        load_blocks(str(tmp_path), tokenizer, LENGTH, "all")


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEPIMP_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(StepimpError, match="Set STEPIMP_CACHE"):
        library.cache_folder()


def test_loading_and_training_a_tokenizer_print_nothing(tmp_path, capfd):
    datasets.enable_progress_bars()
    words = random.Random(0).choices(["model", "reads", "token"], k=400)
    file = str(jsonl(tmp_path / "a.jsonl", [" ".join(words)] * 30))
    load_blocks(file, train_tokenizer(file, 270), LENGTH, "train")
    assert capfd.readouterr() == ("", "")
