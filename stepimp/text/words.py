"""Tokens of text word by word, each word encoded once: most words of a text are repetitions.

For tokenizers of GPT-2's kind, byte-level BPE: a regular expression cuts the text into words, and
the tokens of a word do not depend on those around it.
"""

import json
import os
import re

import numpy as np
from tokenizers import Tokenizer

# GPT-2's pattern for text in ASCII, as `tokenizers` has it:
# 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
WORDS = re.compile(
    r"'(?:[stmd]|re|ve|ll)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII
)
# A line break between two visible characters is always a word of its own.
LINE_BREAK = re.compile(r"(?<=[!-~])\n(?=[!-~])")
MOST_WORDS = 200_000  # that are kept at once: bounds memory
LONGEST = 64  # characters of a word that is kept
MOST_CORES = 4  # on more of them the threads of `tokenizers` are faster than one that remembers


def is_word_by_word(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer encodes text as its words by WORDS, each by itself, provided that no
    special token is looked for in the text.
    """
    facts = json.loads(tokenizer.to_str())
    cut, model = facts["pre_tokenizer"] or {}, facts["model"]
    return (
        facts["normalizer"] is None
        and cut.get("type") == "ByteLevel"
        and not cut.get("add_prefix_space", True)
        and cut.get("use_regex", True)
        and model["type"] == "BPE"
        and not model.get("dropout")
        and all(token["special"] for token in facts["added_tokens"])
    )


def pays() -> bool:
    """Whether one thread that remembers words is faster than the threads of `tokenizers`."""
    if os.environ.get("TOKENIZERS_PARALLELISM", "").lower() in ("false", "off", "no", "0"):
        return True
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) <= MOST_CORES
    return (os.cpu_count() or 1) <= MOST_CORES


class WordEncoder(dict[str, bytes]):
    """{word: its tokens as the bytes of int32}, filled as words appear.

    tokenizer: one for which `is_word_by_word`, which takes special tokens as plain text.
    """

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer

    def __missing__(self, word: str) -> bytes:
        tokens = self.plain(word)
        if len(word) <= LONGEST:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[word] = tokens
        return tokens

    def plain(self, text: str) -> bytes:
        """The tokens of a text, encoded as a whole."""
        (encoded,) = self.tokenizer.encode_batch_fast([text], add_special_tokens=False)
        return np.array(encoded.ids, dtype=np.int32).tobytes()

    def tokens(self, text: str) -> np.ndarray:
        """The tokens [n] int32 of a text. Lines with other characters than ASCII are encoded as a
        whole, since versions of Unicode differ in what a letter is.
        """
        if text.isascii():
            return self.joined([text])
        return self.joined(lines_apart(text))

    def joined(self, parts: list[str]) -> np.ndarray:
        """The tokens of parts that begin and end between words."""
        encoded = [
            b"".join(map(self.__getitem__, WORDS.findall(part)))
            if part.isascii()
            else self.plain(part)
            for part in parts
        ]
        return np.frombuffer(b"".join(encoded), dtype=np.int32)


def lines_apart(text: str) -> list[str]:
    """A text cut between words into parts that are ASCII and short ones that are not."""
    *lines, last = LINE_BREAK.split(text)
    parts: list[str] = []
    for line in [*(f"{line}\n" for line in lines), last]:
        if parts and parts[-1].isascii() and line.isascii():
            parts[-1] += line
        else:
            parts.append(line)
    return parts
