"""The quality of generated text: its perplexity under a judge (gen-PPL) and its unigram entropy.

Text is tokenised anew by the judge, which adds no token of its own. Every token is scored given all
before it, except the first, which has nothing before it, and those of a prefix, which condition and
are not scored. An end-of-text token is a token like any other: it is scored, and so is what follows
it. No text is left out: one with nothing to score counts as one token of probability 1/V, as under
a judge that knows nothing. Text longer than the judge's context is read in windows that overlap by
half: a token has all of the text before it, or at least half a context."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from stepimp.errors import StepimpError
from stepimp.intervals import Estimate, ratio
from stepimp.quality.judge import Judge
from stepimp.quality.samples_file import Samples
from stepimp.results import Kept

SCORED_TOGETHER = 64  # texts that go into the journal at once
MDLM_CHUNK = 1024  # tokens; the context size written into the MDLM repository


@dataclass(frozen=True)
class Scores:
    """nll: [N] sum of nats over the scored tokens of each text; tokens: [N] how many those are, at
    least 1.
    """

    nll: np.ndarray
    tokens: np.ndarray

    @property
    def log_ppl(self) -> np.ndarray:
        """[N] nats per token of each text."""
        return self.nll / self.tokens


def windows(tokens: list[int], first: int, context: int | None):
    """(tokens read, the first of them that is scored): pieces that together score tokens[first:]
    once each.
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
    """Scores each text given its prefix, which the text does not repeat. A text's score depends on
    these two alone.

    Texts of like length share a batch, so that little of it is padding.
    """
    if not len(texts):
        raise StepimpError("There is no text to score.")
    given = judge.encode(prefixes) if prefixes is not None else [[]] * len(texts)
    whole = [
        (before + own, max(1, len(before)))
        for before, own in zip(given, judge.encode(texts), strict=True)
    ]
    pieces = [
        (row, *piece)
        for row, (tokens, first) in enumerate(whole)
        for piece in windows(tokens, first, judge.context)
    ]
    pieces.sort(key=lambda piece: len(piece[1]), reverse=True)
    nll = np.zeros(len(texts))
    for start in range(0, len(pieces), batch_size):
        rows, read, firsts = zip(*pieces[start : start + batch_size])
        ids, asked = torch.zeros(2, len(read), len(read[0]), dtype=torch.long)
        for r, (tokens, first) in enumerate(zip(read, firsts)):
            ids[r, : len(tokens)], asked[r, first : len(tokens)] = torch.tensor(tokens), 1
        np.add.at(nll, np.repeat(rows, asked.sum(1)), judge.nll(ids, asked.bool()).numpy())
    tokens = np.array([len(read) - first for read, first in whole])
    return filled(nll, tokens, judge)


def filled(nll: np.ndarray, tokens: np.ndarray, judge: Judge) -> Scores:
    """Scores in which a text with nothing to score counts as one token of probability 1/V."""
    return Scores(np.where(tokens > 0, nll, math.log(judge.vocab_size)), np.maximum(tokens, 1))


def unscorable(scores: Scores, judge: Judge) -> int:
    """How many of the texts had nothing to score."""
    return int(((scores.tokens == 1) & (scores.nll == math.log(judge.vocab_size))).sum())


def score_as_mdlm(judge: Judge, texts: list[str], length: int, batch_size: int = 8) -> Scores:
    """Scores as the MDLM repository does (`compute_generative_perplexity`), for comparison with its
    numbers.

    Text is cut at `length` tokens of the judge, padded with its end-of-text token to the longest
    and read in chunks of 1024 (of the judge's context, if that is less), whose first token is not
    scored. In each chunk the first end-of-text token counts, padding or not, and later ones do not;
    tokens after it do. Texts beyond the last whole batch are dropped. Prefixes count like any text.
    The repository's number is the corpus-level one."""
    batch_size, eos = min(batch_size, len(texts)), judge.tokenizer.eos_token_id
    if eos is None:
        raise StepimpError(
            f"{judge.name} has no end-of-text token to pad with, as --compat mdlm does: take another."
        )
    encoded = [tokens[:length] for tokens in judge.encode(texts)]
    ids = torch.full((len(texts), max(2, *map(len, encoded))), eos)
    for row, tokens in enumerate(encoded):
        ids[row, : len(tokens)] = torch.tensor(tokens)
    ids = ids[: len(texts) // batch_size * batch_size]
    nll, counted = np.zeros(len(ids)), np.zeros(len(ids), dtype=int)
    for start in range(0, len(ids), batch_size):
        rows = slice(start, start + batch_size)
        for chunk in ids[rows].split(min(MDLM_CHUNK, judge.context or MDLM_CHUNK), dim=1):
            weight = ((chunk == eos).cumsum(1) == 1) | (chunk != eos)
            weight[:, 0] = False
            if weight.any():
                np.add.at(
                    nll[rows], weight.nonzero()[:, 0].numpy(), judge.nll(chunk, weight).numpy()
                )
            counted[rows] += weight.sum(1).numpy()
    return filled(nll, counted, judge)


def unigram_entropy(tokens) -> np.ndarray:
    """Entropy in nats of the token frequencies within each sample: [N, L] -> [N]. Rows may differ
    in length.
    """
    shares = [np.unique(one, return_counts=True)[1] / max(1, len(one)) for one in tokens]
    return np.array([-(share * np.log(share)).sum() for share in shares]) + 0.0  # no -0.0


def evaluate(
    judge: Judge,
    samples: Samples,
    compat: str | None = None,
    batch_size: int = 16,
    journal=None,
    progress=lambda done, total: None,
) -> tuple[dict, dict]:
    """The row of `stepimp evaluate`, and log_ppl and entropy_nats of every sample. compat: None or
    "mdlm".

    journal: keeps what is scored. Entropy is of the samples' own tokens, or of the judge's where
    the file has none."""
    wholes = [prefix + text for prefix, text in zip(samples.prefixes, samples.texts)]
    tokens = samples.tokens or judge.encode(wholes)
    if compat == "mdlm":
        scores = score_as_mdlm(judge, wholes, max(map(len, tokens)), batch_size)
        tokens = tokens[: len(scores.nll)]
    else:
        scores = score_in_parts(judge, samples, batch_size, journal or Kept(), progress)
    entropy = unigram_entropy(tokens)
    entropy_of = "samples' tokens" if samples.tokens else "judge's tokens"
    counted = {"entropy_of": entropy_of, "empty": unscorable(scores, judge)}
    row = {"judge": judge.name, **quality(scores, entropy), **counted}
    return row, {"log_ppl": scores.log_ppl.tolist(), "entropy_nats": entropy.tolist()}


def score_in_parts(judge: Judge, samples: Samples, batch_size: int, journal, progress) -> Scores:
    """`score`, some texts at a time."""
    starts, parts = range(0, len(samples.texts), SCORED_TOGETHER), []
    for start in starts:
        some, unit = slice(start, start + SCORED_TOGETHER), str(start)
        if unit not in journal.done:
            scores = score(judge, samples.texts[some], samples.prefixes[some], batch_size)
            journal.add(unit, [scores.nll.tolist(), scores.tokens.tolist()])
        parts.append(journal.done[unit])
        progress(min(start + SCORED_TOGETHER, len(samples.texts)), len(samples.texts))
    nll, tokens = (np.concatenate(column) for column in zip(*parts))
    return Scores(nll, tokens)


def quality(scores: Scores, entropy: np.ndarray) -> dict:
    """gen_ppl, the mean over samples of exp(log_ppl); corpus_ppl, exp(sum nll / sum tokens);
    entropy_nats; samples.

    Each of the three with its 95% interval over samples, columns _low and _high (see
    `stepimp.intervals`)."""
    return {
        **ratio(np.exp(scores.log_ppl), log_scale=True).columns("gen_ppl"),
        **Estimate(*np.exp(ratio(scores.nll, scores.tokens))).columns("corpus_ppl"),
        **ratio(entropy).columns("entropy_nats"),
        "samples": len(scores.nll),
    }
