"""Documents, their tokens, and blocks of them: what models are trained on and measured with."""

import itertools
import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from stepimp.errors import StepimpError
from stepimp.text.bundled import BUNDLED, load_bundled
from stepimp.text.cache import cache_file, digest, digest_of
from stepimp.text.encoding import PIECE, all_pieces, array_encoder, batches, token_ids
from stepimp.text.files import load_files, require_there, text_files
from stepimp.text.hub import HELD_OUT, hub_split, load_hub
from stepimp.text.hub_beginning import load_beginning
from stepimp.text.large import HEAD, is_large, load_large
from stepimp.text.splits import split_documents
from stepimp.text.tables import rows_of
from stepimp.text.token_files import write_token_file

TOKENIZER_DOCUMENTS = 10_000  # a BPE vocabulary needs no more
TOKENIZER_CHARACTERS = 100_000_000  # about, of large documents
LINE_BREAK = re.compile(r"\w\n(?=\w)")
LONGEST_WORD = 1000  # characters: each merge of BPE training reads the words it is in whole
LONG_WORD = re.compile(
    "|".join(rf"{kind}{{{LONGEST_WORD}}}" for kind in (r"[^\W\d_]", r"\d", r"(?:_|[^\w\s])"))
)


@dataclass(frozen=True)
class Blocks:
    """Token blocks of a corpus."""

    tokens: torch.Tensor
    """[N, L] int32, read from `file` where they are used."""
    fingerprint: str
    """Of the text, tokenizer, length and split."""
    file: Path | None = None
    """Where the tokens are, one after the other; None where there are none."""


def load_documents(data: str, split: str, column: str = "text", characters: int | None = None):
    """The documents of a corpus that are "train", "heldout" or "all".

    data: `docs`, `code`, a file or folder (see `files`) or a Hugging Face dataset id. column: where
    the text is in rows of several columns. characters: of large files and datasets (see `large`)
    the first ones are enough. Returns a datasets.Dataset of (name, text), in which consecutive rows
    of the same name are one document. Raises StepimpError where the library datasets is not
    installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise StepimpError(
            "Reading text needs the library datasets: pip install datasets."
        ) from error
    datasets.disable_progress_bars()
    if data in BUNDLED:
        return load_bundled(data, split)
    path = Path(data).expanduser()
    if path.exists():
        files = text_files(path)
        if is_large(files):
            return load_large(path, files, column, split, characters)
        return split_documents(load_files(path, files, column), split)
    require_there(data)
    if characters and (documents := load_beginning(data, split, column, characters)):
        return documents
    return hub_split(load_hub(data), data, split, column)


def load_blocks(
    data: str,
    tokenizer,
    length: int,
    split: str,
    column: str = "text",
    sequences: int | None = None,
) -> Blocks:
    """Token blocks of a corpus.

    data, split, column: as for `load_documents`. The tokens of all documents, each followed by the
    end-of-text token, are one stream that is cut every `length` tokens; a remainder is left out.
    sequences: of large files and datasets only the beginning is read, which has at least this many
    blocks.
    Raises StepimpError for text that is missing, empty, not UTF-8 or shorter than one block.
    """
    needed, limit = sequences or 0, HEAD if sequences else None
    while True:
        documents = load_documents(data, split, column, limit)
        blocks = blocks_of(documents, tokenizer, length, split)
        if limit is None or len(blocks.tokens) >= needed or characters(documents) < limit:
            break
        limit *= 4
    if not len(blocks.tokens):
        raise StepimpError(
            f"{data} ({split}) has less text than one sequence of {length} tokens: give more text."
        )
    return blocks


def blocks_of(documents, tokenizer, length: int, split: str) -> Blocks:
    """The token blocks of documents as `load_documents` returns them, from the cache where they are
    in it.
    """
    fingerprint = digest(
        corpus_fingerprint(documents), tokenizer_fingerprint(tokenizer), str(length)
    )
    path = cache_file(f"{fingerprint}.tokens")
    if not path.exists():
        encoder = array_encoder(tokenizer)
        write_token_file(
            path,
            batches(all_pieces(rows_of(documents), tokenizer)),
            lambda part: token_ids(part, encoder, tokenizer),
            characters(documents),
        )
    number = path.stat().st_size // np.dtype(np.int32).itemsize // length
    if not number:
        return Blocks(torch.zeros(0, length, dtype=torch.int32), digest(fingerprint, split))
    stream = torch.from_file(str(path), size=number * length, dtype=torch.int32)
    return Blocks(stream.view(number, length), digest(fingerprint, split), path)


def characters(documents) -> int:
    """Characters of all documents."""
    return sum(len(text) for _, text in rows_of(documents))


def tokenizer_fingerprint(tokenizer) -> str:
    """Names a tokenizer's content: equal tokenizers have equal fingerprints.

    One that is written in Python is named by its class and vocabulary.
    """
    if tokenizer.is_fast:
        return digest(tokenizer.backend_tokenizer.to_str())
    vocabulary = sorted(tokenizer.get_vocab().items())
    return digest(type(tokenizer).__name__, *(f"{token} {number}" for token, number in vocabulary))


def corpus_fingerprint(documents) -> str:
    """Names the documents' text. A large hub dataset is named by the library's own fingerprint."""
    if len(documents) > HELD_OUT:
        return documents._fingerprint
    return digest_of(chain.from_iterable(rows_of(documents)))


def between_words(text: str) -> Iterator[str]:
    """A text cut at line breaks between two words, where byte-level BPE has the same words on both
    sides: what is counted does not change, and less is held at a time.
    """
    start = 0
    for match in LINE_BREAK.finditer(text):
        if match.start() + 1 - start > PIECE:
            yield from without_long_words(text[start : match.start() + 1])
            start = match.start() + 1
    yield from without_long_words(text[start:])


def without_long_words(text: str) -> Iterator[str]:
    """A text, cut wherever a run of letters, of digits or of other visible characters reaches
    LONGEST_WORD. Text of natural language or code stays whole.
    """
    start = 0
    if max(map(len, text.split()), default=0) > LONGEST_WORD:  # faster than the search
        for match in LONG_WORD.finditer(text):
            yield text[start : match.end()]
            start = match.end()
    yield text[start:]


def some_texts(documents) -> Iterator[str]:
    """The texts that a tokenizer is trained on: of the first documents, and of fragments of large
    ones some from everywhere.
    """
    by_name = itertools.groupby(rows_of(documents), operator.itemgetter(0))
    first = itertools.islice(by_name, TOKENIZER_DOCUMENTS)
    sizes = [[len(text) for _, text in rows] for _, rows in first]
    count = sum(map(len, sizes))
    step = -(-sum(map(sum, sizes)) // TOKENIZER_CHARACTERS) if count > len(sizes) else 1
    return (text for _, text in itertools.islice(rows_of(documents), 0, count, step))


def train_tokenizer(data: str, vocab_size: int, column: str = "text"):
    """A byte-level BPE tokenizer for a corpus' training documents, as transformers has them.

    vocab_size counts the end-of-text token, which is the first, and the mask token, the last.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    documents = load_documents(data, "train", column)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    lines = chain.from_iterable(map(between_words, some_texts(documents)))
    bpe.train_from_iterator(lines, trainer)
    bpe.add_special_tokens(["<|mask|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|endoftext|>", mask_token="<|mask|>"
    )
