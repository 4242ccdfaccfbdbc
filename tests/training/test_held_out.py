"""What finished models are measured on, and by how many processes."""

import pytest
import torch
from small_training import SHAPE, train
from together import run_together

from stepimp.models.family import read_manifest
from stepimp.models.loading import load
from stepimp.processes import Processes
from stepimp.text.blocks import load_blocks
from stepimp.training import held_out
from stepimp.training.held_out import MOST_TOKENS, finished_part, mean_loss
from stepimp.training.objective import evaluate_nelbo


def test_text_up_to_four_million_tokens_is_measured_whole():
    for shape in ((9574, 256), (MOST_TOKENS // 256, 256), (3, MOST_TOKENS // 3)):
        tokens = torch.empty(1).expand(shape)
        assert finished_part(tokens) is tokens


def test_of_longer_text_sequences_are_spread_evenly(monkeypatch):
    monkeypatch.setattr(held_out, "MOST_TOKENS", 17)
    tokens = torch.arange(90).reshape(30, 3)
    assert finished_part(tokens)[:, 0].tolist() == [0, 18, 36, 54, 72]
    assert finished_part(torch.arange(12).reshape(6, 2)[:, :1].expand(6, 20)).tolist() == [[0] * 20]


@pytest.mark.parametrize("count", [2, 3, 9])
def test_the_mean_is_the_same_for_any_number_of_processes(random_model, count):
    model, tokens = random_model(1), torch.randint(23, (30, 12))
    alone = evaluate_nelbo(model, tokens, batch_size=7)

    def shared(rank):
        batches = []

        def loss(rows):
            batches.append(rows)
            return rows.double().mean().item()

        mean = mean_loss(loss, 30, 7, Processes())
        assert mean == pytest.approx(29 / 2) and len(batches) <= -(-5 // count)
        return mean

    assert len(set(run_together(count, shared))) == 1
    nelbos = run_together(
        count, lambda rank: evaluate_nelbo(model, tokens, batch_size=7, processes=Processes())
    )
    assert len(set(nelbos)) == 1 and nelbos[0] == pytest.approx(alone, rel=1e-5)


def test_progress_goes_from_none_to_all_sequences():
    calls = []
    mean_loss(lambda rows: 0.0, 30, 7, progress=lambda *call: calls.append(call))
    assert calls == [(0, 30), (6, 30), (12, 30), (18, 30), (24, 30), (30, 30)]


def test_a_member_is_measured_on_a_part_and_the_manifest_says_so(tmp_path, text, monkeypatch):
    monkeypatch.setattr(held_out, "MOST_TOKENS", 2 * SHAPE["model_length"])
    nelbo = dict(train(tmp_path, text))["1b"]
    facts = read_manifest(tmp_path)["members"]["1b"]
    assert facts["heldout_sequences"] == 2 and facts["heldout_nelbo_nats"] == nelbo
    family = load(["1b"], tmp_path)
    whole = load_blocks(str(text), family.tokenizer, SHAPE["model_length"], "heldout").tokens
    assert len(whole) > 2
    part = whole[[0, len(whole) // 2]]
    assert evaluate_nelbo(family.any, part) == pytest.approx(nelbo, rel=1e-5)
