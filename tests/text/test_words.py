"""Text encoded word by word has the tokens of the tokenizer itself."""

import random
from itertools import product
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from stepimp.text import encoding, words
from stepimp.text.blocks import train_tokenizer
from stepimp.text.encoding import array_encoder, encode

PAIRS = "".join(first + second for first, second in product(map(chr, range(128)), repeat=2))
TRICKY = [
    *"aZ 09_'\"\n\t\r\x0b\x0c\x1c\x1f\x00.,é”\u3000\xa0\u2028\x85漢٣ⅷ🙂\u0301",
    "'s",
    "'ll",
    "  ",
    "\n\n",
]
TRICKY += ["<|mask|>", "<|endoftext|>", "the model", "don't ", " reads"]
CONTRACTIONS = "it's don't you're we've I'm they'll we'll he'd ab12 ..\n  if x:\n\treturn\n\n" * 99
TRICKY += CONTRACTIONS.split()[:8]


def hostile(seed):
    draw = random.Random(seed)
    return "".join(draw.choices(TRICKY, k=400))


TEXTS = {
    "pairs": PAIRS,
    "empty": "",
    "source": Path(words.__file__).read_text("utf-8") * 3,
    "lines": "a line\nand é one\n\n of three\r\nlines\n",
    **{f"hostile {seed}": hostile(seed) for seed in range(30)},
}


@pytest.fixture(scope="module", params=[260, 400], ids=["bytes", "BPE"])
def tokenizer(request, tiny_text, tmp_path_factory):
    """Without merges, and with those of a text."""
    file = tmp_path_factory.mktemp("words") / "text.txt"
    file.write_text(
        CONTRACTIONS + tiny_text.read_text("utf-8") + Path(words.__file__).read_text("utf-8")
    )
    return train_tokenizer(str(file), request.param)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setattr(encoding, "pays", lambda: True)


def test_the_tokens_are_those_of_the_whole_text(tokenizer):
    assert words.is_word_by_word(encoding.without_special_tokens(tokenizer))
    encoded = array_encoder(tokenizer)(list(TEXTS.values()))
    for name, tokens, ids in zip(TEXTS, encoded, encode(tokenizer, list(TEXTS.values()))):
        assert tokens.tolist() == ids, name


def test_words_that_are_forgotten_or_long_are_encoded_again(tokenizer, monkeypatch):
    monkeypatch.setattr(words, "MOST_WORDS", 5)
    monkeypatch.setattr(words, "LONGEST", 6)
    encoder = words.WordEncoder(encoding.without_special_tokens(tokenizer))
    for text, ids in zip(TEXTS.values(), encode(tokenizer, list(TEXTS.values()))):
        assert encoder.tokens(text).tolist() == ids
        assert len(encoder) <= 5 and all(len(word) <= 6 for word in encoder)


def with_pre_tokenizer(bpe, pre_tokenizer):
    bpe.pre_tokenizer = pre_tokenizer


OTHERS = {
    "normalizer": lambda bpe: setattr(bpe, "normalizer", normalizers.Lowercase()),
    "prefix space": lambda bpe: with_pre_tokenizer(bpe, pre_tokenizers.ByteLevel(True)),
    "no pattern": lambda bpe: with_pre_tokenizer(
        bpe, pre_tokenizers.ByteLevel(False, use_regex=False)
    ),
    "other words": lambda bpe: with_pre_tokenizer(bpe, pre_tokenizers.Whitespace()),
    "dropout": lambda bpe: setattr(bpe.model, "dropout", 0.1),
    "another model": lambda bpe: setattr(bpe, "model", models.WordLevel({"a": 0}, unk_token="a")),
    "words of its own": lambda bpe: bpe.add_tokens([AddedToken("the model", special=False)]),
}


@pytest.mark.parametrize("change", OTHERS)
def test_other_tokenizers_encode_whole_texts(tokenizer, change):
    bpe = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    assert words.is_word_by_word(bpe)
    OTHERS[change](bpe)
    assert not words.is_word_by_word(bpe)


def test_many_cores_leave_the_text_to_the_threads_of_the_tokenizer(monkeypatch):
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    for cores, expected in ((1, True), (4, True), (5, False)):
        monkeypatch.setattr(
            words.os, "sched_getaffinity", lambda _, n=cores: range(n), raising=False
        )
        assert words.pays() == expected
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    assert words.pays()
