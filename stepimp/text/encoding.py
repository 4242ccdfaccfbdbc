"""Text to tokens: documents of any size, cut into pieces whose tokens are those of the whole."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby

import numpy as np

from stepimp.text.token_files import Part
from stepimp.text.words import WordEncoder, is_word_by_word, pays

PIECE = 100_000  # characters of a text tokenized at once: bounds memory
LONGEST = 2_000_000  # characters of a fragmented document that wait for a clean cut
FEW = 100  # line breaks that are tried there
TOGETHER = 16  # pieces that are tokenized at once, by as many threads as there are cores
AROUND = 100  # characters on both sides of a cut that must have the same tokens with and without it
Encoder = Callable[[list[str]], list[list[int]]]
ArrayEncoder = Callable[[list[str]], list[np.ndarray]]
Fragment = tuple[str, str]
"""(name of its document, text): consecutive fragments of the same name are one document."""


def token_ids(part: Part, encoder: ArrayEncoder, tokenizer) -> np.ndarray:
    """The tokens [n] int32 of consecutive pieces; the end-of-text token follows the last one of a
    text. Plain text never becomes a special token, whatever it contains.
    """
    last = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    ends = {True: np.array(last, dtype=np.int32), False: np.zeros(0, dtype=np.int32)}
    encoded = encoder([piece for piece, _ in part])
    return np.concatenate(
        [ids for tokens, (_, is_last) in zip(encoded, part) for ids in (tokens, ends[is_last])]
    )


def all_pieces(fragments: Iterable[Fragment], tokenizer) -> Iterator[tuple[str, bool]]:
    """`pieces` of all documents."""
    encoder = plain_encoder(tokenizer)
    documents = groupby(fragments, key=lambda fragment: fragment[0])
    return chain.from_iterable(
        pieces((text for _, text in document), encoder) for _, document in documents
    )


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


def pieces(document: Iterable[str], encoder: Encoder) -> Iterator[tuple[str, bool]]:
    """(piece, whether it is the last) of a document, cut before line breaks where no token is lost.

    document: its consecutive fragments. Where LONGEST characters have no such line break and more
    follow, the cut is at their last space, else at their end.
    """
    text, start, blocked = "", 0, False
    for fragment in document:
        # The last characters wait, so that the cuts do not depend on where a fragment ends.
        while len(text) - start > PIECE + AROUND and not blocked:
            if cut := clean_cut(text, encoder, start, start + PIECE):
                yield text[start:cut], False
                start = cut
            else:
                blocked = True
        text, start = text[start:], 0
        if blocked and len(text) > LONGEST:
            cut = clean_cut(text, encoder, 0, len(text) - AROUND, FEW)
            cut = cut or max(text.rfind(" "), 0) or len(text)
            yield text[:cut], False
            text, blocked = text[cut:], False
        text += fragment
    while len(text) - start > PIECE and not blocked:
        if not (cut := clean_cut(text, encoder, start, start + PIECE)):
            break
        yield text[start:cut], False
        start = cut
    yield text[start:], True


def clean_cut(text: str, encoder: Encoder, start: int, stop: int, tries: int = PIECE) -> int | None:
    """The last line break between two places of a text that `cuts_cleanly`, if any is found in that
    many tries.
    """
    cut = stop
    for _ in range(tries):
        cut = text.rfind("\n", start + 1, cut)
        if cut <= start:
            break
        if cuts_cleanly(text, cut, encoder):
            return cut
    return None


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
