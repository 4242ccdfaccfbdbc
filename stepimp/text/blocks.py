"""Documents, their tokens, and blocks of them: what models are trained on and measured with."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch

from stepimp.errors import StepimpError, advice
from stepimp.scratch import replacing
from stepimp.text.bundled import BUNDLED, load_bundled
from stepimp.text.cache import cache_file, digest
from stepimp.text.files import READERS, load_files, suffix_of
from stepimp.text.hub import HELD_OUT, hub_split, load_hub
from stepimp.text.splits import split_documents

TOKENIZER_DOCUMENTS = 10_000  # a BPE vocabulary needs no more
PIECE = 100_000  # characters tokenized at once: bounds memory
AROUND = 100  # characters on both sides of a cut that must have the same tokens with and without it


@dataclass(frozen=True)
class Blocks:
    """Token blocks [N, L], and a fingerprint of the text, tokenizer, length and split."""

    tokens: torch.Tensor
    fingerprint: str


def load_documents(data: str, split: str, column: str = "text"):
    """The documents of a corpus that are "train", "heldout" or "all".

    data: `docs`, `code`, a file or folder (see `files`) or a Hugging Face dataset id. column: where
    the text is in rows of several columns. Returns a datasets.Dataset of (name, text).
    """
    import datasets

    datasets.disable_progress_bars()
    if data in BUNDLED:
        return load_bundled(data, split)
    path = Path(data).expanduser()
    if path.exists():
        return split_documents(load_files(path, column), split)
    if suffix_of(path) in READERS:
        raise StepimpError(
            f"No such file: {data}. Give a file, a bundled corpus ({', '.join(BUNDLED)}) or a "
            "Hugging Face dataset id."
        )
    return hub_split(load_hub(data), data, split, column)


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
        write_tokens(path, token_stream(documents["text"], tokenizer))
    stream = np.fromfile(path, dtype=np.int32)
    tokens = torch.from_numpy(stream[: len(stream) // length * length]).long().view(-1, length)
    if not len(tokens):
        raise StepimpError(
            f"{data} ({split}) has less text than one sequence of {length} tokens: give more text."
        )
    return Blocks(tokens, digest(fingerprint, split))


def write_tokens(path: Path, stream: Iterable[list[int]]):
    """Tokens as a file of int32, whole or not at all."""
    try:
        with replacing(path) as scratch, open(scratch, "wb") as file:
            for ids in stream:
                np.asarray(ids, dtype=np.int32).tofile(file)
    except OSError as error:
        raise StepimpError(
            f"Cannot write {path} ({error.strerror}). {advice(error)} STEPIMP_CACHE sets it."
        ) from error


def token_stream(texts: Iterable[str], tokenizer) -> Iterator[list[int]]:
    """Token ids in parts: of each text, then the end-of-text token.

    Plain text never becomes a special token, whatever it contains.
    """
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    numbered = ((piece, last) for text in texts for piece, last in pieces(text, tokenizer))
    while batch := list(islice(numbered, 1000)):
        for part in batches(batch):
            ids = encode(tokenizer, [piece for piece, _ in part])
            yield list(
                chain.from_iterable(
                    piece_ids + (end if last else []) for piece_ids, (_, last) in zip(ids, part)
                )
            )


def batches(numbered: list[tuple[str, bool]]) -> Iterator[list[tuple[str, bool]]]:
    """Consecutive parts of at most about `PIECE` characters."""
    part: list[tuple[str, bool]] = []
    size = 0
    for piece, last in numbered:
        if part and size + len(piece) > PIECE:
            yield part
            part, size = [], 0
        part.append((piece, last))
        size += len(piece)
    if part:
        yield part


def pieces(text: str, tokenizer) -> Iterator[tuple[str, bool]]:
    """(piece, whether it is the last) of a text, cut before line breaks where no token is lost."""
    start = 0
    while len(text) - start > PIECE:
        cut = start + PIECE
        while (cut := text.rfind("\n", start + 1, cut)) > start:
            if cuts_cleanly(text, cut, tokenizer):
                break
        if cut <= start:
            break
        yield text[start:cut], False
        start = cut
    yield text[start:], True


def cuts_cleanly(text: str, cut: int, tokenizer) -> bool:
    """Whether the two sides of a cut have the tokens that they have together."""
    before, after = text[max(0, cut - AROUND) : cut], text[cut : cut + AROUND]
    left, right, both = encode(tokenizer, [before, after, before + after])
    return left + right == both


def encode(tokenizer, texts: list[str]) -> list[list[int]]:
    """Token ids of plain texts, none of which becomes a special token of the tokenizer."""
    return tokenizer(
        texts,
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,
        verbose=False,
    ).input_ids


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
    bpe.train_from_iterator((document["text"] for document in documents), trainer)
    bpe.add_special_tokens(["<|mask|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|endoftext|>", mask_token="<|mask|>"
    )
