"""What a training runs against what is counted of it, and rates that are measured once."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from documents import call
from small_training import RECIPE, SHAPE, train
from transformers import TrainerCallback

from stepimp.estimates import timing, training_timing
from stepimp.estimates.training import Training, TrainingCosts, TrainingRates
from stepimp.estimates.training_flops import causal_costs, member_costs
from stepimp.estimates.training_rates import family_calibration
from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.training.judge import layer_matrices, new_judge


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    monkeypatch.setenv("STEPIMP_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def text(tmp_path_factory, tiny_text):
    file = tmp_path_factory.mktemp("text") / "short.txt"
    file.write_text(tiny_text.read_text()[:700])
    return file


class Counted(TrainerCallback):
    """Counts the steps and the checkpoints of a training."""

    def __init__(self):
        self.counts = Counter()

    def on_step_end(self, *_, **__):
        self.counts["steps"] += 1

    def on_save(self, *_, **__):
        self.counts["checkpoints"] += 1


@pytest.mark.parametrize("schedule", ["cosine", "trapezoid"])
def test_what_is_counted_is_what_a_training_runs(schedule, text, monkeypatch, tmp_path):
    sequences, hidden = Counter(), MDLMForMaskedLM._hidden

    def counting(model, z, *arguments, **options):
        sequences["forwards"] += len(z)
        return hidden(model, z, *arguments, **options)

    recipe, folder = replace(RECIPE, schedule=schedule, snapshot_every=3), tmp_path / "family"
    calibration = family_calibration(folder, [1], SHAPE, recipe, str(text), vocab_size=262)
    assert not folder.exists()
    training, (rates,) = calibration.training(recipe), calibration.models.values()
    monkeypatch.setattr(MDLMForMaskedLM, "_hidden", counting)
    ran = Counted()
    train(folder, text, callbacks=[ran], recipe=recipe)
    assert sequences["forwards"] == training.forwards > 7 * 4
    assert ran.counts == {"steps": 7, "checkpoints": training.checkpoints}
    assert training.checkpoints == (4 if schedule == "cosine" else 5) and training.snapshots == 2
    kept = sum(training_timing.bytes_in(path) for path in folder.iterdir() if path.is_dir())
    expected = training.kept_bytes(rates.model_bytes, rates.checkpoint_bytes)
    assert kept == pytest.approx(expected, rel=0.02)


def test_flops_are_those_of_the_plain_formula(random_model):
    length, width, vocabulary, blocks, batch = 32, 16, 24, 3, 5
    costs = member_costs(random_model(n_blocks=blocks))
    block = length * (24 * width**2 + 4 * length * width)
    masked = length * (1 + 1e-3) / 2  # on average over the times of training
    assert costs.forward == blocks * block + masked * 2 * width * vocabulary
    shapes = [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)]
    muon = [5 * 2 * (2 * min(s) ** 2 * max(s) + min(s) ** 3) for s in shapes]
    assert costs.optimizer == blocks * sum(muon)
    recipe = replace(RECIPE, steps=11, batch_size=batch, snapshot_every=4)
    taught = Training(recipe, held_out=9, snapshot_sequences=2).flops(replace(costs, teacher=70.0))
    steps = 11 * (batch * (3 * costs.forward + 70) + costs.optimizer)
    assert taught == pytest.approx(steps + (9 + 2 * 2) * costs.forward)
    teacher = member_costs(random_model(), teacher=random_model(n_blocks=2)).teacher
    assert teacher == pytest.approx(2 * block + masked * 2 * width * vocabulary, rel=1e-12)


def test_flops_of_a_judge_are_those_of_the_plain_formula(tiny_judge):
    length, width, layers, vocabulary = 20, 16, 2, len(tiny_judge.tokenizer)
    shape = dict(n_layer=layers, n_embd=width, n_head=2, n_positions=length, dropout=0.0)
    model = new_judge(shape, tiny_judge.tokenizer)
    costs = causal_costs(model, layer_matrices(model), length)
    layer = length * (24 * width**2 + 4 * length * width)
    assert costs.forward == layers * layer + length * 2 * width * vocabulary


def test_seconds_are_those_of_all_parts():
    recipe = replace(RECIPE, steps=10, save_every=4, snapshot_every=5)
    rates = TrainingRates(TrainingCosts(1, 1), 100, 1, 0.5, 3, 7, 0, 0)
    training = Training(recipe, held_out=6, snapshot_sequences=2)
    assert training.checkpoints == 3 and training.evaluated == 10
    assert rates.seconds(training) == 100 + 10 * 1 + 10 * 0.5 + 3 * 3 + (1 + 2) * 7
    assert training.scratch_bytes(10) == 30
    assert Training(replace(recipe, save_every=50), 6).scratch_bytes(10) == 10


FAMILY = ["--length", 16, "--width", 16, "--batch-size", 4, "--vocab-size", 262]
JUDGE = ["--context", 16, "--width", 16, "--layers", 2, "--batch-size", 4, "--vocab-size", 290]


def estimated(*line):
    return json.loads(call("estimate", "--json", *line).stdout)


def test_a_family_costs_what_its_members_cost(text, tmp_path):
    folder = tmp_path / "family"
    line = ["train", folder, "--data", text, "--steps", 20, *FAMILY]
    one, two, both = (
        estimated(*line, "--depths", depths, *more)
        for depths, more in [("1", []), ("2", []), ("1,2", ["--baseline-seed", 5])]
    )
    assert both["steps"] == {"1b": 20, "2b": 20, "2b_seed5": 20}
    assert both["forwards"]["2b_seed5"] == both["forwards"]["1b"] == one["forwards"]["1b"] > 20 * 4
    assert both["flops"] == pytest.approx(one["flops"] + 2 * two["flops"])
    assert both["disk_bytes"] == pytest.approx(one["disk_bytes"] + 2 * two["disk_bytes"], rel=0.01)
    assert both["seconds"] > both["warmup_seconds"] > 0 and both["memory_bytes"] > 1e6
    assert not folder.exists()


def test_steps_are_timed_once(text, tmp_path, monkeypatch):
    line = ["train", tmp_path, "--data", text, "--depths", "1", *FAMILY]
    first = estimated(*line, "--steps", 30, "--save-every", 10)
    monkeypatch.setattr(training_timing, "measure", None)
    again = estimated(*line, "--steps", 60, "--save-every", 10)
    spent = [each["seconds"] - each["warmup_seconds"] for each in (first, again)]
    assert spent[0] < spent[1] < 2 * spent[0]
    with pytest.raises(TypeError):
        family_calibration(tmp_path, [1], SHAPE, RECIPE, str(text), vocab_size=262)


def test_a_training_ends_in_time(text, tmp_path):
    line = ["train", tmp_path, "--data", text, "--depths", "1", "--steps", 10**6, *FAMILY]
    assert estimated(*line, "--minutes", 0.001)["seconds"] == pytest.approx(0.06)


def test_the_estimate_of_a_judge(text, tmp_path):
    line = ["judge", tmp_path, "--data", text, "--steps", 9, *JUDGE]
    document = estimated(*line)
    assert document["steps"] == {"judge": 9} and document["forwards"]["judge"] > 9 * 4
    assert all(document[name] > 0 for name in ("flops", "seconds", "memory_bytes", "disk_bytes"))
    assert not list(tmp_path.glob("judge*"))
    shown = call("estimate", *line).stdout
    assert "steps" in shown and "checkpoints beside it" in shown and "without" not in shown


def test_the_estimate_refuses_what_the_command_refuses(text, tmp_path):
    line = ["estimate", "train", tmp_path, "--data", text]
    assert "twice the 3 heads" in call(*line, "--heads", 3, code=2).output
    assert "nothing to estimate" in call(*line, "--prepare", "a.safetensors", code=2).output
    assert "less than one batch" in call(*line, *FAMILY, "--batch-size", 10**6, code=1).output
