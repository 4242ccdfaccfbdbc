"""A judge is trained by one command, which can be killed and repeated."""

import json

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from stepimp.commands import main
from stepimp.quality.judge import judge_of, load_judge
from stepimp.text.blocks import load_blocks
from stepimp.training import judge
from stepimp.training.judge import held_out_nats, read_recipe

SIZES = {"layers": 1, "width": 16, "heads": 2, "context": 16, "vocab-size": 270}
STEPS = {"steps": 6, "batch-size": 4, "save-every": 2, "warmup": 2}
TINY = [part for name, value in (SIZES | STEPS).items() for part in (f"--{name}", value)]


@pytest.fixture
def train(tiny_text, tmp_path):
    """A function (folder, *options) -> the result of `stepimp judge` there."""

    def run(folder, *options, code=0):
        (tmp_path / folder).mkdir(exist_ok=True)
        arguments = ["judge", tmp_path / folder, "--data", tiny_text, *TINY, *options]
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        return result

    return run


def test_training_writes_a_judge_with_its_recipe_once(train, tiny_text, tmp_path):
    result = train("family", "--weights", "float32")
    folder, recipe = tmp_path / "family" / "judge", read_recipe(tmp_path / "family" / "judge")
    assert f"{recipe['heldout_nats_per_token']:.4f} nats per token -> {folder}" in result.stdout
    assert (recipe["recipe"]["steps"], recipe["data"], recipe["seed"]) == (6, str(tiny_text), 1)
    assert not (tmp_path / "family" / "judge.training").exists()
    judge = load_judge(judge_of(tmp_path / "family"), "cpu")
    assert judge.context == 16 and judge.vocab_size == recipe["vocab_size"] == 270
    tokens = load_blocks(str(tiny_text), judge.tokenizer, 16, "heldout").tokens
    assert held_out_nats(judge.model, tokens) == pytest.approx(
        recipe["heldout_nats_per_token"], rel=1e-5
    )
    assert held_out_nats(judge.model, tokens, batch_size=5) == pytest.approx(
        recipe["heldout_nats_per_token"], rel=1e-5
    )
    weights = (folder / "model.safetensors").stat().st_mtime_ns
    assert json.loads(train("family", "--weights", "float32", "--json").stdout) == recipe
    assert (folder / "model.safetensors").stat().st_mtime_ns == weights


def test_training_learns(train, tmp_path):
    train("long", "--steps", 60, "--save-every", 60)
    train("short", "--steps", 2)
    nats = [
        read_recipe(tmp_path / name / "judge")["heldout_nats_per_token"]
        for name in ("long", "short")
    ]
    assert nats[0] < nats[1] - 0.5


def test_a_killed_training_goes_on_to_the_same_weights(train, tmp_path, monkeypatch):
    train("whole")
    steps, compute_loss = [], judge.JudgeTrainer.compute_loss

    def killed(self, *arguments, **options):
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return compute_loss(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(judge.JudgeTrainer, "compute_loss", killed)
        train("stopped", code=130)
    for change in (["--steps", 7], ["--vocab-size", 265]):
        refused = train("stopped", *change, code=1).stderr.replace("\n", " ")
        assert "unfinished training with other options" in refused
    train("stopped")
    whole, stopped = (
        load_file(tmp_path / name / "judge" / "model.safetensors") for name in ("whole", "stopped")
    )
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


@pytest.mark.parametrize(
    "options, code, message",
    [
        (["--width", 15], 2, "multiple of the 2 heads"),
        (["--vocab-size", 100], 2, "--vocab-size"),
        (["--batch-size", 10_000], 1, "less than one batch of 10000"),
        (["--data", "nothing.txt"], 1, "No such file"),
    ],
)
def test_training_options_that_cannot_be(train, options, code, message):
    assert message in train("family", *options, code=code).stderr.replace("\n", " ")
