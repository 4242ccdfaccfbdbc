"""Documents, their tokens, and blocks of them: what models are trained on and measured with."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from stepimp.errors import StepimpError, advice
from stepimp.text.bundled import BUNDLED, load_bundled
from stepimp.text.cache import cache_file, digest
from stepimp.text.files import READERS, load_files, suffix_of
from stepimp.text.hub import HELD_OUT, hub_split, load_hub
from stepimp.text.splits import split_documents
from stepimp.text.token_files import Part, write_token_file
from stepimp.text.words import WordEncoder, is_word_by_word, pays

TOKENIZER_DOCUMENTS = 10_000  # a BPE vocabulary needs no more
PIECE = 100_000  # characters of a text tokenized at once: bounds memory
TOGETHER = 16  # pieces that are tokenized at once, by as many threads as there are cores
AROUND = 100  # characters on both sides of a cut that must have the same tokens with and without it
LINE_BREAK = re.compile(r"\w\n(?=\w)")
Encoder = Callable[[list[str]], list[list[int]]]
ArrayEncoder = Callable[[list[str]], list[np.ndarray]]


@dataclass(frozen=True)
class Blocks:
    """Token blocks [N, L], and a fingerprint of the text, tokenizer, length and split."""

    tokens: torch.Tensor
    fingerprint: str


def load_documents(data: str, split: str, column: str = "text"):
    """The documents of a corpus that are "train", "heldout" or "all".

    data: `docs`, `code`, a file or folder (see `files`) or a Hugging Face dataset id. column: where
    the text is in rows of several columns. Returns a datasets.Dataset of (name, text). Raises
    StepimpError where the library datasets is not installed.
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
        return split_documents(load_files(path, column), split)
    if path.is_symlink():
        refuse_broken(path)
    if suffix_of(path) in READERS:
        raise StepimpError(
            f"No such file: {data}. Give a file, a bundled corpus ({', '.join(BUNDLED)}) or a "
            "Hugging Face dataset id."
        )
    return hub_split(load_hub(data), data, split, column)


def refuse_broken(link: Path):
    """Raises StepimpError for a symbolic link that leads nowhere or in a circle."""
    try:
        link.stat()
    except OSError as error:
        said = f"Cannot read {link} ({error.strerror}). {advice(error)}"
        raise StepimpError(said) from error


def load_blocks(data: str, tokenizer, length: int, split: str, column: str = "text") -> Blocks:
    """Token blocks of a corpus.

    data, split, column: as for `load_documents`. The tokens of all documents, each followed by the
    end-of-text token, are one stream that is cut every `length` tokens; a remainder is left out.
    Returns tokens [N, length] int64. Raises StepimpError for text that is missing, empty, not UTF-8
    or shorter than one block.
    """
    documents = load_documents(data, split, column)
    fingerprint = digest(
        corpus_fingerprint(documents), tokenizer_fingerprint(tokenizer), str(length)
    )
    path = cache_file(f"{fingerprint}.tokens")
    if not path.exists():
        encoder = array_encoder(tokenizer)
        write_token_file(
            path,
            batches(all_pieces(documents["text"], tokenizer)),
            lambda part: token_ids(part, encoder, tokenizer),
            characters(documents),
        )
    stream = np.memmap(path, np.int32, "r") if path.stat().st_size else np.zeros(0, np.int32)
    tokens = torch.from_numpy(stream[: len(stream) // length * length].astype(np.int64)).view(
        -1, length
    )
    if not len(tokens):
        raise StepimpError(
            f"{data} ({split}) has less text than one sequence of {length} tokens: give more text."
        )
    return Blocks(tokens, digest(fingerprint, split))


def characters(documents) -> int:
    """Characters of all documents."""
    import pyarrow.compute

    tables = documents.with_format("arrow").iter(TOGETHER)
    lengths = (pyarrow.compute.utf8_length(table["text"]) for table in tables)
    return sum(pyarrow.compute.sum(each).as_py() for each in lengths)


def token_stream(texts: Iterable[str], tokenizer) -> Iterator[np.ndarray]:
    """Token ids in parts [n] int32: of each text, then the end-of-text token.

    Plain text never becomes a special token, whatever it contains.
    """
    encoder = array_encoder(tokenizer)
    for part in batches(all_pieces(texts, tokenizer)):
        yield token_ids(part, encoder, tokenizer)


def token_ids(part: Part, encoder: ArrayEncoder, tokenizer) -> np.ndarray:
    """The tokens [n] int32 of consecutive pieces; the end-of-text token follows the last one of a
    text.
    """
    last = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    ends = {True: np.array(last, dtype=np.int32), False: np.zeros(0, dtype=np.int32)}
    encoded = encoder([piece for piece, _ in part])
    return np.concatenate(
        [ids for tokens, (_, is_last) in zip(encoded, part) for ids in (tokens, ends[is_last])]
    )


def all_pieces(texts: Iterable[str], tokenizer) -> Iterator[tuple[str, bool]]:
    """`pieces` of all texts."""
    encoder = plain_encoder(tokenizer)
    return chain.from_iterable(pieces(text, encoder) for text in texts)


def batches(numbered: Iterable[tuple[str, bool]]) -> Iterator[Part]:
    """Consecutive parts of at most about TOGETHER times PIECE characters."""
    part: Part = []
    size = 0
    for piece, last in numbered:
        if part and size + len(piece) > TOGETHER * PIECE:
            yield part
            part, size = [], 0
        part.append((piece, last))
        size += len(piece)
    if part:
        yield part


def pieces(text: str, encoder: Encoder) -> Iterator[tuple[str, bool]]:
    """(piece, whether it is the last) of a text, cut before line breaks where no token is lost."""
    start = 0
    while len(text) - start > PIECE:
        cut = start + PIECE
        while (cut := text.rfind("\n", start + 1, cut)) > start:
            if cuts_cleanly(text, cut, encoder):
                break
        if cut <= start:
            break
        yield text[start:cut], False
        start = cut
    yield text[start:], True


def cuts_cleanly(text: str, cut: int, encoder: Encoder) -> bool:
    """Whether the two sides of a cut have the tokens that they have together."""
    before, after = text[max(0, cut - AROUND) : cut], text[cut : cut + AROUND]
    left, right, both = encoder([before, after, before + after])
    return left + right == both


def plain_encoder(tokenizer) -> Encoder:
    """A function from texts to their token ids, which takes everything as plain text: whole, as it
    is, and none of it a special token.
    """
    if not tokenizer.is_fast:
        return lambda texts: (
            tokenizer(
                texts,
                add_special_tokens=False,
                split_special_tokens=True,
                return_attention_mask=False,
                verbose=False,
            ).input_ids
        )
    plain = without_special_tokens(tokenizer)
    return lambda texts: [
        each.ids for each in plain.encode_batch_fast(texts, add_special_tokens=False)
    ]


def without_special_tokens(tokenizer):
    """A copy of a fast tokenizer's tokenizers.Tokenizer that takes all of a text as plain text."""
    from tokenizers import Tokenizer

    plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    plain.encode_special_tokens = True
    plain.no_truncation()
    plain.no_padding()
    return plain


def array_encoder(tokenizer) -> ArrayEncoder:
    """`plain_encoder` for much text: the same tokens as arrays [n] int32, the fastest way."""
    if tokenizer.is_fast and pays():
        plain = without_special_tokens(tokenizer)
        if is_word_by_word(plain):
            words = WordEncoder(plain)
            return lambda texts: [words.tokens(text) for text in texts]
    encoder = plain_encoder(tokenizer)
    return lambda texts: [np.array(ids, dtype=np.int32) for ids in encoder(texts)]


def encode(tokenizer, texts: list[str]) -> list[list[int]]:
    """Token ids of plain texts, none of which becomes a special token of the tokenizer."""
    return plain_encoder(tokenizer)(texts)


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
    return digest(*chain.from_iterable(zip(documents["name"], documents["text"])))


def between_words(text: str) -> Iterator[str]:
    """A text cut at line breaks between two words, where byte-level BPE has the same words on both
    sides: what is counted does not change, and less is held at a time.
    """
    start = 0
    for match in LINE_BREAK.finditer(text):
        if match.start() + 1 - start > PIECE:
            yield text[start : match.start() + 1]
            start = match.start() + 1
    yield text[start:]


def train_tokenizer(data: str, vocab_size: int, column: str = "text"):
    """A byte-level BPE tokenizer for a corpus' training documents, as transformers has them.

    vocab_size counts the end-of-text token, which is the first, and the mask token, the last.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    documents = load_documents(data, "train", column)
    documents = documents.select(range(min(TOKENIZER_DOCUMENTS, len(documents))))
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    lines = chain.from_iterable(between_words(text) for text in documents["text"])
    bpe.train_from_iterator(lines, trainer)
    bpe.add_special_tokens(["<|mask|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|endoftext|>", mask_token="<|mask|>"
    )
