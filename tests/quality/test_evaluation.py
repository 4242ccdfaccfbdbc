"""Scores against plain loops over transformers' own loss, in float64."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stepimp.errors import StepimpError
from stepimp.journals import Journal
from stepimp.quality import evaluation, scoring
from stepimp.quality.evaluation import evaluate, quality_columns
from stepimp.quality.judge import Judge
from stepimp.quality.samples_file import Samples
from stepimp.quality.scoring import (
    Scores,
    score,
    score_as_mdlm,
    unigram_entropy,
    unscorable,
    windows,
)

SHORT = ["the model reads a token", "heavy", "noise of the mask and", "the the the"]
ENDED = "light step<|endoftext|>and a curve"


@pytest.fixture(scope="module")
def judge(tiny_family):
    """The tiny judge in float64."""
    from stepimp.quality.judge import judge_of, load_judge

    return load_judge(judge_of(tiny_family), "cpu", "float64")


def plain(judge, text):
    """(sum of nats, tokens) of one text by transformers' own loss, which is float32 whatever the
    model is: five digits of it are the same on any processor.
    """
    ids = torch.tensor([judge.tokenizer(text).input_ids])
    with torch.no_grad():
        return judge.model(ids, labels=ids).loss.item() * (ids.shape[1] - 1), ids.shape[1] - 1


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_scores_equal_a_plain_loop_over_transformers_loss(judge, batch_size):
    texts = [*SHORT, ENDED]
    scores = score(judge, texts, batch_size=batch_size)
    nll, tokens = zip(*(plain(judge, text) for text in texts))
    assert scores.tokens.tolist() == list(tokens)
    np.testing.assert_allclose(scores.nll, nll, rtol=1e-5)
    gen_ppl = np.mean(np.exp(np.divide(nll, tokens)))
    row = quality_columns(scores, np.zeros(len(texts)))
    assert row["gen_ppl"] == pytest.approx(gen_ppl, rel=1e-5)
    assert row["corpus_ppl"] == pytest.approx(math.exp(sum(nll) / sum(tokens)), rel=1e-5)


def test_scores_in_float32_agree_to_five_digits(tiny_judge, judge):
    texts = [*SHORT, ENDED]
    exact, scores = score(judge, texts), score(tiny_judge, texts)
    np.testing.assert_allclose(np.exp(scores.log_ppl), np.exp(exact.log_ppl), rtol=1e-5)


def test_a_prefix_conditions_and_is_not_scored(judge):
    prefix, text = "the model reads", " a heavy token and"
    prefix_ids, text_ids = (torch.tensor(judge.encode([part])[0]) for part in (prefix, text))
    ids = torch.cat([prefix_ids, text_ids])[None]
    with torch.no_grad():
        log_p = judge.model(ids).logits[0].log_softmax(-1)
    expected = -log_p[len(prefix_ids) - 1 : -1].gather(1, text_ids[:, None]).sum().item()
    scores = score(judge, [text, text], [prefix, ""])
    assert scores.tokens.tolist() == [len(text_ids), len(text_ids) - 1]
    assert scores.nll[0] == pytest.approx(expected, rel=1e-9)
    assert scores.nll[1] == pytest.approx(plain(judge, text)[0], rel=1e-5)


def test_end_of_text_is_a_token_like_any_other(judge):
    ids = judge.encode([ENDED])[0]
    assert judge.tokenizer.eos_token_id in ids
    assert score(judge, [ENDED]).tokens[0] == len(ids) - 1


@pytest.mark.parametrize("context", [None, 2, 5, 8])
def test_windows_score_each_token_once_with_half_a_context_before_it(context):
    for length, first in itertools.product(range(30), (1, 4, 9, 29)):
        tokens, scored = list(range(length)), []
        for read, start in windows(tokens, first, context):
            assert len(read) <= (context or length) and start >= 1
            assert read[0] == 0 or start >= context // 2
            scored += read[start:]
        assert scored == tokens[first:]


def test_long_text_is_read_in_windows(judge):
    text = " ".join(SHORT * 8)
    ids, context = torch.tensor(judge.encode([text])), judge.context
    assert ids.shape[1] > 2 * context
    expected, done = 0.0, 1
    for start in range(0, ids.shape[1], context // 2):
        part = ids[:, start : start + context]
        with torch.no_grad():
            log_p = (
                judge.model(part).logits[0, :-1].log_softmax(-1).gather(1, part[0, 1:, None])[:, 0]
            )
        expected -= log_p[done - start - 1 :].sum().item()
        done = start + part.shape[1]
        if done == ids.shape[1]:
            break
    scores = score(judge, [text, "the model"])
    assert scores.tokens[0] == ids.shape[1] - 1 and scores.nll[0] == pytest.approx(
        expected, rel=1e-9
    )


@pytest.mark.parametrize(
    "texts, prefixes",
    [(["", "the model"], None), (["x", "the model"], None), (["", ""], ["the", ""])],
)
def test_a_text_with_nothing_to_score_counts_as_one_token_of_chance(judge, texts, prefixes):
    scores = score(judge, texts, prefixes)
    assert len(scores.nll) == 2 and np.isfinite(scores.log_ppl).all()
    assert (scores.nll[0], scores.tokens[0]) == (math.log(290), 1)
    assert unscorable(scores, judge) == (2 if prefixes else 1)


def test_no_text_at_all_is_an_error(judge):
    with pytest.raises(StepimpError, match="no text to score"):
        score(judge, [])


def test_a_body_whose_logits_are_more_than_its_head_is_read_whole(judge):
    class Capped(torch.nn.Module):
        """Soft-caps its logits, as Gemma 2 does."""

        def __init__(self, model):
            super().__init__()
            self.model, self.config, self.base_model, self.device = (
                model,
                model.config,
                model.base_model,
                model.device,
            )
            self.get_output_embeddings = model.get_output_embeddings

        def forward(self, ids, **options):
            scores = self.model(ids, **options)
            scores.logits = 2 * torch.tanh(scores.logits / 2)
            return scores

    capped = Judge(Capped(judge.model), judge.tokenizer, "capped", "0")
    assert judge.plain_head and not capped.plain_head
    ids = torch.tensor(judge.encode(SHORT[:1]))
    with torch.no_grad():
        log_p = (2 * torch.tanh(judge.model(ids).logits / 2))[0, :-1].log_softmax(-1)
    expected = -log_p.gather(1, ids[0, 1:, None]).sum().item()
    assert score(capped, SHORT[:1]).nll[0] == pytest.approx(expected, rel=1e-5)


# ---- as the MDLM repository does ----


def mdlm_reference(judge, texts, length, chunk, batch):
    """Corpus perplexity by the definition: a plain loop over padded chunks."""
    eos, encoded = judge.tokenizer.eos_token_id, [tokens[:length] for tokens in judge.encode(texts)]
    longest, total, weight = max(map(len, encoded)), 0.0, 0
    for tokens in encoded[: len(texts) // batch * batch]:
        padded = tokens + [eos] * (longest - len(tokens))
        for start in range(0, longest, chunk):
            part, ends = padded[start : start + chunk], 0
            with torch.no_grad():
                log_p = F.log_softmax(judge.model(torch.tensor([part])).logits[0], -1)
            for i, token in enumerate(part):
                ends += token == eos
                if i > 0 and (token != eos or ends == 1):
                    total, weight = total - log_p[i - 1, token].item(), weight + 1
    return math.exp(total / weight)


def test_the_mdlm_way_equals_a_plain_loop_and_drops_the_rest_of_the_batch(judge, monkeypatch):
    monkeypatch.setattr(scoring, "MDLM_CHUNK", 8)
    texts = [*SHORT, ENDED, ENDED * 2 + "<|endoftext|><|endoftext|> a step", "left over"]
    scores = score_as_mdlm(judge, texts, 20, batch_size=3)
    assert len(scores.nll) == 6
    expected = mdlm_reference(judge, texts, 20, 8, 3)
    assert quality_columns(scores, np.zeros(6))["corpus_ppl"] == pytest.approx(expected, rel=1e-9)
    assert quality_columns(score(judge, texts[:6]), np.zeros(6))["corpus_ppl"] != pytest.approx(
        expected, rel=1e-3
    )


def test_the_mdlm_way_needs_an_end_of_text_token(judge):
    class Endless:
        eos_token_id = None

    with pytest.raises(StepimpError, match="no end-of-text token"):
        score_as_mdlm(Judge(judge.model, Endless(), "endless", "0"), ["a"], 4)


# ---- a whole file ----


def samples(texts, tokens=None, prefixes=None):
    return Samples(prefixes or [""] * len(texts), texts, tokens, None, None)


def test_a_file_is_scored_in_parts_that_a_killed_run_keeps(judge, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "SCORED_TOGETHER", 2)
    texts = [*SHORT, ENDED]
    whole = evaluate(judge, samples(texts, [[1, 2]] * 5))
    calls = []

    def killed(*arguments):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(arguments)
        return score(*arguments)

    monkeypatch.setattr(evaluation, "score", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate(judge, samples(texts, [[1, 2]] * 5), journal=Journal(tmp_path / "j", "k"))
    monkeypatch.setattr(
        evaluation, "score", lambda *arguments: calls.append(arguments) or score(*arguments)
    )
    again = evaluate(judge, samples(texts, [[1, 2]] * 5), journal=Journal(tmp_path / "j", "k"))
    assert json.dumps(again) == json.dumps(whole) and len(calls) == 3


def test_entropy_is_of_the_samples_tokens_or_of_the_judges(judge):
    text_ids, _ = evaluate(judge, samples(SHORT, [[1, 1], [1, 2], [1, 2], [3, 3]]))
    assert (
        text_ids["entropy_nats"] == pytest.approx(math.log(2) / 2)
        and text_ids["entropy_of"] == "samples' tokens"
    )
    others, _ = evaluate(judge, samples(["a", "b"], prefixes=["the", "the"]))
    assert others["entropy_of"] == "judge's tokens"
    assert others["entropy_nats"] == pytest.approx(
        np.mean(unigram_entropy(judge.encode(["thea", "theb"])))
    )


def test_unigram_entropy_by_hand():
    tokens = [[7, 7, 7, 7], [1, 2, 1, 2], [1, 2, 3, 4], [5, 5, 5, 1], [9], []]
    expected = [0, math.log(2), math.log(4), -0.75 * math.log(0.75) - 0.25 * math.log(0.25), 0, 0]
    assert unigram_entropy(tokens).tolist() == pytest.approx(expected)
    assert unigram_entropy(np.array(tokens[:4])).tolist() == pytest.approx(expected[:4])


def test_quality_names_both_perplexities():
    row = quality_columns(Scores(np.array([2.0, 12.0]), np.array([2, 4])), np.array([1.0, 2.0]))
    assert row["gen_ppl"] == pytest.approx((math.exp(1) + math.exp(3)) / 2)
    assert row["corpus_ppl"] == pytest.approx(math.exp(14 / 6))
    assert row["entropy_nats"] == 1.5 and row["samples"] == 2
    for name in ("gen_ppl", "corpus_ppl", "entropy_nats"):
        assert row[name + "_low"] < row[name] < row[name + "_high"]
