"""The plain loop that runs saved schedules: its law, and the example of docs/plans.md."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from chains import LENGTH, MODELS, TEXTS, VOCAB, after, log_p
from fakes import chi_square, exact_distribution

from stepimp.errors import StepimpError
from stepimp.sampling.drive import drive, events
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.saved import SavedSchedule
from stepimp.schedules.schedule import Schedule

LOGITS = {name: lambda z, t, model=model: model.hidden(z) for name, model in MODELS.items()}


def law_in_groups(groups):
    """{tokens: probability} of groups in a uniformly random order, by the definition."""
    law, orders = dict.fromkeys(TEXTS, 0.0), list(itertools.permutations(range(LENGTH)))
    for x, order in itertools.product(TEXTS, orders):
        z, place, mass = (VOCAB,) * LENGTH, 0, 1 / len(orders)
        for name, tokens in groups:
            revealed = order[place : place + tokens]
            mass *= np.exp(sum(log_p(name, z)[j, x[j]] for j in revealed))
            z, place = after(z, x, revealed), place + tokens
        law[x] += mass
    return law


STEPS = Schedule.of(["a", "heavy", "b"])
CASES = {
    "plan": (SavedSchedule(Plan((("a", 2), ("heavy", 1)))), (("a", 2), ("heavy", 1))),
    "one token at a time": (
        SavedSchedule(MaskedSchedule.of(["heavy", "b", "a"])),
        (("heavy", 1), ("b", 1), ("a", 1)),
    ),
    "steps": (SavedSchedule(STEPS), None),
}


@pytest.mark.parametrize("saved, groups", CASES.values(), ids=CASES)
def test_the_law_is_that_of_the_definition(saved, groups):
    exact = law_in_groups(groups) if groups else exact_distribution(MODELS, STEPS, LENGTH)
    generator, masked = torch.Generator().manual_seed(1), torch.full((LENGTH,), VOCAB)
    drawn = [tuple(drive(saved, LOGITS, masked, VOCAB, generator).tolist()) for _ in range(2000)]
    observed = np.array([drawn.count(x) for x in exact])
    assert observed.sum() == 2000
    assert chi_square(observed, 2000 * np.array(list(exact.values()))) > 1e-3


@pytest.mark.parametrize("steps", [1, 3, 40])
def test_a_schedule_over_n_in_t_steps_runs_the_model_of_each_n(steps):
    schedule, positions = MaskedSchedule.of(["a", "a", "heavy", "b", "b"]), torch.arange(2, 7)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        left, revealed = 5, []
        for model, t, group in events(SavedSchedule(schedule, steps), positions, generator):
            assert model == schedule.model_at(left) and 0 < t <= 1 and len(group)
            left -= len(group)
            revealed += group.tolist()
        assert sorted(revealed) == positions.tolist() and left == 0


def test_given_tokens_are_kept_and_models_and_lengths_must_fit():
    z = torch.tensor([1, VOCAB, VOCAB])
    filled = drive(SavedSchedule(Plan((("a", 2),))), LOGITS, z, VOCAB)
    assert filled[0] == 1 and (filled < VOCAB).all() and z.tolist() == [1, VOCAB, VOCAB]
    with pytest.raises(StepimpError, match="reveals 3 tokens, and 2 are masked"):
        drive(SavedSchedule(Plan((("a", 3),))), LOGITS, z, VOCAB)
    with pytest.raises(StepimpError, match="The schedule runs 6b: give their logits"):
        drive(SavedSchedule(Plan((("6b", 2),))), LOGITS, z, VOCAB)


def test_the_example_of_the_docs_runs(tmp_path, monkeypatch):
    from transformers import BertConfig, BertForMaskedLM

    page = (Path(__file__).parents[2] / "docs" / "plans.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (plan,) = re.findall(r"```json\n(.*?)```", page, re.S)
    for name, layers in (("large", 2), ("small", 1)):
        sizes = dict(hidden_size=8, num_attention_heads=1, intermediate_size=8, vocab_size=120)
        BertForMaskedLM(BertConfig(num_hidden_layers=layers, **sizes)).save_pretrained(
            tmp_path / name
        )
    (tmp_path / "plan.json").write_text(plan)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(example, names)
    assert len(names["text"]) == 12 and (names["text"] != names["mask_id"]).all()
    assert names["text"][:4].tolist() == names["prompt"]
