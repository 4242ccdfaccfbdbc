"""What scoring runs against what is counted of it."""

import json
from collections import Counter

import pytest
from documents import call

from stepimp.estimates import scoring as module
from stepimp.estimates import timing
from stepimp.quality.judge import Judge


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    monkeypatch.setenv("STEPIMP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def samples(tmp_path):
    """Texts of many lengths, some beyond the judge's context, more than are scored together."""
    file = tmp_path / "samples.jsonl"
    texts = ["the light model " * (1 + k % 9) for k in range(70)]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return file


@pytest.mark.parametrize("compat", [[], ["--compat", "mdlm"]], ids=str)
def test_what_is_counted_is_what_scoring_runs(
    compat, samples, tiny_family, tiny_judge, monkeypatch, tmp_path
):
    line = ["evaluate", samples, "--family", tiny_family, "--batch-size", 4, *compat]
    line += ["--out", tmp_path / "results"]
    document = json.loads(call("estimate", "--json", *line).stdout)
    ran, nll = Counter(), Judge.nll
    layers, width, vocabulary = 2, 16, tiny_judge.vocab_size

    def counting(judge, ids, scored):
        rows, length = ids.shape[0], ids.shape[1] - 1
        ran["forwards"] += rows
        ran["flops"] += rows * layers * length * (24 * width**2 + 4 * length * width)
        ran["flops"] += int(scored.sum()) * 2 * width * vocabulary
        return nll(judge, ids, scored)

    monkeypatch.setattr(Judge, "nll", counting)
    call(*line)
    assert document["forwards"] == {"judge": ran["forwards"]}
    assert document["texts_scored"] == 70 and ran["forwards"] >= 68
    assert document["flops"] == pytest.approx(ran["flops"])
    assert document["seconds"] > 0 and document["memory_bytes"] > 1e6


def test_texts_are_timed_once(samples, tiny_family, monkeypatch):
    line = ["estimate", "--json", "evaluate", samples, "--family", tiny_family]
    first = call(*line).stdout
    monkeypatch.setattr(module, "measure_scoring", None)
    assert call(*line).stdout == first
    shown = call("estimate", *line[2:]).stdout
    assert "texts the judge scores" in shown and "without the judge" not in shown
