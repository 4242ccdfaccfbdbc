import os
import random
import sys

import datasets
import numpy as np
import pytest
import torch
from fakes import jsonl
from transformers import ByT5Tokenizer

from stepimp.errors import StepimpError
from stepimp.text import blocks, cache, encoding
from stepimp.text.blocks import (
    LONGEST_WORD,
    between_words,
    load_blocks,
    load_documents,
    train_tokenizer,
)
from stepimp.text.splits import split_of
from stepimp.text.tables import numbered

LENGTH = 16


@pytest.fixture(scope="module")
def tokenizer(tiny_text):
    return train_tokenizer(str(tiny_text), 270)


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


@pytest.mark.parametrize("length", [1, 7, LENGTH])
def test_packing_equals_a_plain_reference(tokenizer, tmp_path, length):
    texts = ["light mask", "", "the model runs a step and learns", "é\n\n"] * 3
    blocks = load_blocks(str(jsonl(tmp_path / "a.jsonl", texts)), tokenizer, length, "all")
    assert torch.equal(blocks.tokens, reference_blocks(texts, tokenizer, length))
    assert blocks.tokens.dtype == torch.int32


def test_a_digest_tells_apart_where_one_part_ends_and_the_next_begins():
    assert (
        len(
            {
                cache.digest("ab", "c"),
                cache.digest("a", "bc"),
                cache.digest("abc"),
                cache.digest("c", "ab"),
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


def test_a_held_out_part_that_is_too_short_says_so(tokenizer, tmp_path):
    (tmp_path / "a.txt").write_text("the model reads " * 8)
    with pytest.raises(StepimpError, match=r"\(heldout\) has less text than one sequence"):
        load_blocks(str(tmp_path / "a.txt"), tokenizer, LENGTH, "heldout")


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEPIMP_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(StepimpError, match="Set STEPIMP_CACHE"):
        cache.cache_folder()


def test_loading_and_training_a_tokenizer_print_nothing(tmp_path, capfd):
    datasets.enable_progress_bars()
    words = random.Random(0).choices(["model", "reads", "token"], k=400)
    file = str(jsonl(tmp_path / "a.jsonl", [" ".join(words)] * 30))
    load_blocks(file, train_tokenizer(file, 270), LENGTH, "train")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("marker", ["<|mask|>", "<|endoftext|>"])
def test_plain_text_never_becomes_a_special_token(tokenizer, tmp_path, marker):
    text = f"the model reads {marker} as text " * 20
    tokens = load_blocks(str(jsonl(tmp_path / "a.jsonl", [text])), tokenizer, LENGTH, "all").tokens
    special = {tokenizer.mask_token_id, tokenizer.eos_token_id}
    assert special.isdisjoint(tokens.flatten().tolist())
    assert tokenizer.decode(tokens.flatten()) == text[: len(tokenizer.decode(tokens.flatten()))]


def test_encoding_plain_text_leaves_the_tokenizer_as_it_was(tokenizer):
    before = blocks.tokenizer_fingerprint(tokenizer)
    encoding.encode(tokenizer, ["<|mask|>"])
    assert blocks.tokenizer_fingerprint(tokenizer) == before
    assert tokenizer("<|mask|>").input_ids == [tokenizer.mask_token_id]


def token_parts(texts, tokenizer):
    """The tokens of each part that a text is tokenized in."""
    encoder = encoding.array_encoder(tokenizer)
    parts = encoding.batches(encoding.all_pieces(numbered(texts), tokenizer))
    return [encoding.token_ids(part, encoder, tokenizer) for part in parts]


def test_a_long_text_is_tokenized_in_pieces_with_the_same_tokens(tokenizer, monkeypatch):
    text = "the model\n\n  reads\r\n é a token\n" * 50 + "x" * 300 + "\nof the sample" * 20
    whole = np.concatenate(token_parts([text, "end"], tokenizer))
    monkeypatch.setattr(encoding, "PIECE", 97)
    assert sum(1 for _ in encoding.pieces([text], encoding.plain_encoder(tokenizer))) > 10
    parts = token_parts([text, "end"], tokenizer)
    assert len(parts) > 1 and np.array_equal(np.concatenate(parts), whole)


def test_a_tokenizer_without_a_rust_twin_tokenises_and_has_a_fingerprint(tiny_text):
    first, same, other = ByT5Tokenizer(), ByT5Tokenizer(), ByT5Tokenizer(extra_ids=7)
    prints = [blocks.tokenizer_fingerprint(each) for each in (first, same, other)]
    assert prints[0] == prints[1] != prints[2]
    stream = load_blocks(str(tiny_text), first, LENGTH, "train").tokens
    assert tiny_text.read_text("utf-8").startswith(first.decode(stream[0]))


def test_a_cache_that_may_only_be_read_is_read(tokenizer, tiny_text, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("STEPIMP_CACHE", str(tmp_path / "cache"))
    there = load_blocks(str(tiny_text), tokenizer, LENGTH, "train")
    names = sorted(file.name for file in (tmp_path / "cache").iterdir())
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    again = load_blocks(str(tiny_text), tokenizer, LENGTH, "train")
    other = load_blocks(str(tiny_text), tokenizer, LENGTH + 1, "train")
    assert again.fingerprint == there.fingerprint and len(other.tokens)
    assert sorted(file.name for file in (tmp_path / "cache").iterdir()) == names
    assert caplog.text.count("cannot be written to: text is prepared for this run alone") == 1


def test_without_datasets_a_text_is_refused_in_words(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(StepimpError, match="needs the library datasets: pip install datasets"):
        load_documents(str(tmp_path), "all")


@pytest.mark.parametrize("run", ["ab", "é", "12", "=-", "_"])
def test_a_tokenizer_is_trained_on_words_of_bounded_length(run):
    word = run * (4321 // len(run))
    text = f"some words, {word} and\n{word}"
    parts = list(between_words(text))
    assert "".join(parts) == text
    assert max(len(part) for part in " ".join(parts).split()) == LONGEST_WORD


def test_a_line_of_many_short_words_is_not_cut():
    text = "if(a1){b=c.d+1};" * 1000
    assert list(between_words(text)) == [text]
