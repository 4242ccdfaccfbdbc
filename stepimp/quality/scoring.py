"""The perplexity of text under a judge, text by text, and its unigram entropy.

Text is tokenised anew by the judge, which adds no token of its own. Every token is scored given all
before it, except the first, which has nothing before it, and those of a prefix, which condition and
are not scored. An end-of-text token is a token like any other: it is scored, and so is what follows
it. No text is left out: one with nothing to score counts as one token of probability 1/V, as under
a judge that knows nothing. Text longer than the judge's context is read in windows that overlap by
half: a token has all of the text before it, or at least half a context.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from stepimp.errors import StepimpError
from stepimp.quality.judge import Judge

MDLM_CHUNK = 1024  # tokens; the context size written into the MDLM repository


@dataclass(frozen=True)
class Scores:
    """Scores of N texts under a judge."""

    nll: np.ndarray
    """[N] sum of -log p over the scored tokens of each text, in nats."""
    tokens: np.ndarray
    """[N] number of scored tokens of each text, at least 1."""

    @property
    def log_ppl(self) -> np.ndarray:
        """[N] nats per token of each text."""
        return self.nll / self.tokens


def windows(tokens: list[int], first: int, context: int | None) -> Iterator[tuple[list[int], int]]:
    """(tokens to read, index of the first that is scored): windows of at most `context` tokens that
    together score each of tokens[first:] once.
    """
    context = context or len(tokens)
    start = 0
    while first < len(tokens):
        stop = min(start + context, len(tokens))
        if first < stop:
            yield tokens[start:stop], first - start
            first = stop
        start += max(1, context // 2) if start + context < len(tokens) else 0


def score(
    judge: Judge, texts: list[str], prefixes: list[str] | None = None, batch_size: int = 16
) -> Scores:
    """Scores each text given its prefix, which the text does not repeat.

    A text's score depends on its prefix and itself alone, up to floating-point rounding. Texts of
    similar length share a batch, so that little of it is padding. Raises StepimpError without
    texts.
    """
    if not len(texts):
        raise StepimpError("There is no text to score.")
    whole = read_whole(judge, texts, prefixes)
    nll = np.zeros(len(texts))
    for rows, ids, scored in batches(whole, judge.context, batch_size):
        np.add.at(nll, np.repeat(rows, scored.sum(1)), judge.nll(ids, scored).numpy())
    tokens = np.array([len(read) - first for read, first in whole])
    return filled(nll, tokens, judge)


def read_whole(
    judge: Judge, texts: list[str], prefixes: list[str] | None
) -> list[tuple[list[int], int]]:
    """(tokens of prefix and text, index of the first that is scored) of each text."""
    encoded_prefixes = judge.encode(prefixes) if prefixes is not None else [[]] * len(texts)
    return [
        (prefix + text, max(1, len(prefix)))
        for prefix, text in zip(encoded_prefixes, judge.encode(texts), strict=True)
    ]


def batches(
    whole: list[tuple[list[int], int]], context: int | None, batch_size: int
) -> Iterator[tuple[tuple[int, ...], torch.Tensor, torch.Tensor]]:
    """What `score` runs: (index of the text of each row, ids [B, L], whether each is scored
    [B, L]), the longest rows first.
    """
    pieces = [
        (row, *piece)
        for row, (tokens, first) in enumerate(whole)
        for piece in windows(tokens, first, context)
    ]
    pieces.sort(key=lambda piece: len(piece[1]), reverse=True)
    for start in range(0, len(pieces), batch_size):
        rows, read, firsts = zip(*pieces[start : start + batch_size])
        ids, scored = torch.zeros(2, len(read), len(read[0]), dtype=torch.long)
        for r, (tokens, first) in enumerate(zip(read, firsts)):
            ids[r, : len(tokens)], scored[r, first : len(tokens)] = torch.tensor(tokens), 1
        yield rows, ids, scored.bool()


def filled(nll: np.ndarray, tokens: np.ndarray, judge: Judge) -> Scores:
    """Scores; a text with nothing to score counts as one token of probability 1/V."""
    return Scores(np.where(tokens > 0, nll, math.log(judge.vocab_size)), np.maximum(tokens, 1))


def unscorable(scores: Scores, judge: Judge) -> int:
    """Number of texts that had nothing to score."""
    return int(((scores.tokens == 1) & (scores.nll == math.log(judge.vocab_size))).sum())


def score_as_mdlm(judge: Judge, texts: list[str], length: int, batch_size: int = 8) -> Scores:
    """Scores as the MDLM repository does (`compute_generative_perplexity`), to compare with its
    numbers, which are at corpus level.

    Text is cut at `length` tokens of the judge, padded with its end-of-text token to the longest
    text, and read in chunks of 1024 tokens (of the judge's context, if that is less), whose first
    token is not scored. In each chunk the first end-of-text token counts, padding or not, and later
    ones do not; tokens after it do. Texts beyond the last whole batch are dropped. Prefixes count
    like any text. Raises StepimpError if the judge has no end-of-text token.
    """
    batch_size = min(batch_size, len(texts))
    ids = mdlm_ids(judge, texts, length, batch_size)
    nll, counted = np.zeros(len(ids)), np.zeros(len(ids), dtype=int)
    for rows, chunk, weight in mdlm_chunks(judge, ids, batch_size):
        if weight.any():
            np.add.at(nll[rows], weight.nonzero()[:, 0].numpy(), judge.nll(chunk, weight).numpy())
        counted[rows] += weight.sum(1).numpy()
    return filled(nll, counted, judge)


def mdlm_ids(judge: Judge, texts: list[str], length: int, batch_size: int) -> torch.Tensor:
    """Tokens [N, L] of the texts of whole batches, as `score_as_mdlm` cuts and pads them."""
    eos = judge.tokenizer.eos_token_id
    if eos is None:
        raise StepimpError(
            f"{judge.name} has no end-of-text token to pad with, as the MDLM repository does: use "
            "another judge."
        )
    encoded = [tokens[:length] for tokens in judge.encode(texts)]
    ids = torch.full((len(texts), max(2, *map(len, encoded))), eos)
    for row, tokens in enumerate(encoded):
        ids[row, : len(tokens)] = torch.tensor(tokens)
    return ids[: len(texts) // batch_size * batch_size]


def mdlm_chunks(
    judge: Judge, ids: torch.Tensor, batch_size: int
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """What `score_as_mdlm` runs: (rows of ids, tokens [B, l], which of them count [B, l])."""
    eos = judge.tokenizer.eos_token_id
    for start in range(0, len(ids), batch_size):
        rows = slice(start, start + batch_size)
        for chunk in ids[rows].split(min(MDLM_CHUNK, judge.context or MDLM_CHUNK), dim=1):
            weight = ((chunk == eos).cumsum(1) == 1) | (chunk != eos)
            weight[:, 0] = False
            yield rows, chunk, weight


def unigram_entropy(tokens) -> np.ndarray:
    """Entropy in nats of the token frequencies within each sample: [N, L] -> [N].

    Rows may differ in length; an empty one has entropy 0.
    """
    shares = [np.unique(row, return_counts=True)[1] / max(1, len(row)) for row in tokens]
    return np.array([-(share * np.log(share)).sum() for share in shares]) + 0.0  # no -0.0
