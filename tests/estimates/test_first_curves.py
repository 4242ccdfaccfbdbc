"""The curves that a command measures first are counted where the results folder has none."""

import json
from collections import Counter

import pytest
from documents import call

from stepimp.estimates import timing
from stepimp.models.mdlm import MDLMForMaskedLM

SEARCH = ["search", "--steps", 12, "--samples", 60, "--segments", 3, "--light-segments", 1]
COMMANDS = {
    "search": [*SEARCH, "--heavy", "2b", "--light", "1b"],
    "plan": ["plan", "--forwards", 4],
    "recommend": ["recommend", "--steps", 12],
}


@pytest.fixture
def passes(monkeypatch):
    """Model, by a weight of it -> sequences that went through its body."""
    counted, hidden = Counter(), MDLMForMaskedLM._hidden

    def counting(model, z, *arguments, **options):
        counted[model.backbone.vocab_embed.embedding[0, 0].item()] += len(z)
        return hidden(model, z, *arguments, **options)

    monkeypatch.setattr(MDLMForMaskedLM, "_hidden", counting)
    return counted


@pytest.fixture
def long_text(tiny_text, tmp_path):
    """A text with as many held-out sequences as curves ask for by default."""
    file = tmp_path / "long.txt"
    file.write_text(6 * tiny_text.read_text("utf-8"), "utf-8")
    return str(file)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_counted_is_what_runs(
    command, tiny_family, long_text, passes, monkeypatch, tmp_path
):
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    monkeypatch.setattr("stepimp.sampling.curves.corpus", lambda folder: long_text)
    line = [*COMMANDS[command], "--family", tiny_family, "--out", tmp_path / "results"]
    estimated = json.loads(call("estimate", "--json", *line).stdout)["forwards"]
    passes.clear()
    call(*line)
    assert sorted(passes.values()) == pytest.approx(sorted(estimated.values()), rel=0.03)
    again = json.loads(call("estimate", "--json", *line).stdout)["forwards"]
    there = 200 * 20 - 200 + 7  # of the curves, which are measured in chunks of 32
    later = [count - there for count in estimated.values() if count > 1.02 * there]
    assert sorted(again.values()) == pytest.approx(sorted(later), rel=0.03)
