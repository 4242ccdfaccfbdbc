import json
import resource
import shutil
from dataclasses import replace

import pytest
import torch
from small_training import RECIPE, SHAPE, KillAt, Killed, equal, train, weights
from transformers import TrainerCallback

from stepimp.errors import StepimpError
from stepimp.models.checkpoints import load_checkpoint
from stepimp.models.family import read_manifest
from stepimp.models.loading import load
from stepimp.text.blocks import load_blocks
from stepimp.training import family as training_family
from stepimp.training import objective
from stepimp.training.callbacks import EMA, Deadline
from stepimp.training.objective import evaluate_nelbo
from stepimp.training.trainer import full_disk_explained, last_checkpoint


def test_the_average_is_that_computed_by_hand(random_model):
    model, other = random_model(1), random_model(2)
    ema = EMA(model, 0.8)
    ema.on_train_begin(None, type("State", (), {"global_step": 0}), None)
    first, second = ({name: p.clone() for name, p in m.named_parameters()} for m in (model, other))
    ema.on_step_end(None, None, None)
    model.load_state_dict(other.state_dict())
    for _ in range(2):
        ema.on_step_end(None, None, None)
    for name, p in ema.averaged().named_parameters():
        assert torch.allclose(p, 0.64 * first[name] + 0.36 * second[name], atol=1e-6)


@pytest.mark.parametrize("step", [1, 5, 7])
def test_a_killed_training_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path, text, uninterrupted, step
):
    with pytest.raises(Killed):
        train(tmp_path, text, callbacks=[KillAt(step)])
    assert "1b" not in read_manifest(tmp_path)["members"]
    assert dict(train(tmp_path, text)) == uninterrupted[1]
    assert equal(weights(tmp_path), weights(uninterrupted[0]))


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiled_blocks_in_mixed_precision_resume_too(tmp_path, text):
    fast = replace(RECIPE, bf16=True, compile=True)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    nelbo = dict(train(whole, text, recipe=fast, depths=[2]))
    with pytest.raises(Killed):
        train(stopped, text, recipe=fast, depths=[2], callbacks=[KillAt(5)])
    assert dict(train(stopped, text, recipe=fast, depths=[2])) == nelbo
    assert equal(weights(stopped, "2b"), weights(whole, "2b"))
    assert nelbo == pytest.approx(dict(train(tmp_path / "plain", text, depths=[2])), rel=0.02)


def test_a_checkpoint_that_was_not_finished_is_passed_over(tmp_path, text, uninterrupted):
    with pytest.raises(Killed):
        train(tmp_path, text, callbacks=[KillAt(5)])
    newest = tmp_path / "1b.training" / "checkpoint-4"
    (newest / EMA.FILE).unlink(), (newest / "model.safetensors").write_bytes(b"cut off")
    train(tmp_path, text)
    assert equal(weights(tmp_path), weights(uninterrupted[0]))


def test_a_kill_after_the_last_checkpoint_trains_nothing_again(tmp_path, text, monkeypatch):
    def killed(*_):
        raise Killed

    recipe = replace(RECIPE, steps=2 * RECIPE.save_every)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training_family, "write_manifest", killed)
        train(tmp_path, text, recipe=recipe)
    before = weights(tmp_path)
    monkeypatch.setattr(
        objective.MDLMTrainer, "compute_loss", lambda *_, **__: pytest.fail("trained again")
    )
    assert [name for name, _ in train(tmp_path, text, recipe=recipe)] == ["1b"]
    assert equal(weights(tmp_path), before)


class FullDiskAt(TrainerCallback):
    def __init__(self, step, limits):
        self.step, self.limits = step, limits

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)


@pytest.mark.parametrize("limit", [0, 20_000, 60_000])
def test_a_disk_that_fills_up_loses_no_checkpoint(tmp_path, text, uninterrupted, full_disk, limit):
    full = FullDiskAt(3, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    with (
        full_disk(resource.RLIM_INFINITY),
        pytest.raises(StepimpError, match="the disk may be full. Free space"),
    ):
        train(tmp_path, text, callbacks=[full])
    assert last_checkpoint(tmp_path / "1b.training").name == "checkpoint-2"
    train(tmp_path, text)
    assert equal(weights(tmp_path), weights(uninterrupted[0]))


def test_an_unfinished_training_goes_on_with_its_own_options_alone(tmp_path, text, uninterrupted):
    with pytest.raises(Killed):
        train(tmp_path, text, callbacks=[KillAt(3)])
    teacher = str(uninterrupted[0] / "1b")
    for change in (
        dict(hidden_dim=32),
        dict(recipe=replace(RECIPE, muon_lr=0.1)),
        dict(teacher=teacher),
    ):
        with pytest.raises(
            StepimpError, match="1b.training holds an unfinished training with other options"
        ):
            train(tmp_path, text, **change)


LONG = replace(RECIPE, steps=10, schedule="trapezoid")


def test_a_longer_trapezoid_extends_a_finished_training(tmp_path, text):
    whole, extended = tmp_path / "whole", tmp_path / "extended"
    nelbo = dict(train(whole, text, recipe=LONG))
    train(extended, text, recipe=replace(LONG, steps=5))
    assert (extended / "1b.training" / "stable" / "checkpoint-4").exists()
    assert dict(train(extended, text, recipe=LONG)) == nelbo
    assert equal(weights(extended), weights(whole))
    assert read_manifest(extended)["members"]["1b"]["recipe"]["steps"] == 10
    assert train(extended, text, recipe=LONG) == []


@pytest.mark.parametrize("step", [3, 9])
def test_a_longer_trapezoid_extends_an_unfinished_training(tmp_path, text, step):
    whole, extended = tmp_path / "whole", tmp_path / "extended"
    longer = replace(LONG, steps=14)
    nelbo = dict(train(whole, text, recipe=longer))
    with pytest.raises(Killed):
        train(extended, text, recipe=LONG, callbacks=[KillAt(step)])
    assert dict(train(extended, text, recipe=longer)) == nelbo
    assert equal(weights(extended), weights(whole))


def test_a_disk_that_fills_up_before_a_longer_trapezoid_loses_no_checkpoint(
    tmp_path, text, full_disk
):
    whole, extended = tmp_path / "whole", tmp_path / "extended"
    train(whole, text, recipe=LONG)
    train(extended, text, recipe=replace(LONG, steps=5))
    with full_disk(20_000), pytest.raises(StepimpError, match="the disk may be full. Free space"):
        train(extended, text, recipe=LONG)
    train(extended, text, recipe=LONG)
    assert equal(weights(extended), weights(whole))


def test_a_copy_of_the_plateau_that_failed_is_made_when_the_training_goes_on(
    tmp_path, text, monkeypatch
):
    def killed(source, target):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("stepimp.training.callbacks.copy_folder", killed)
        train(tmp_path, text, recipe=replace(LONG, steps=5))
    train(tmp_path, text, recipe=replace(LONG, steps=5))
    assert (tmp_path / "1b.training" / "stable" / "checkpoint-4").exists()


def test_a_checkpoint_that_torch_cannot_write_is_a_full_disk(tmp_path):
    with pytest.raises(StepimpError, match="the disk may be full"), full_disk_explained(tmp_path):
        torch.save({}, "/dev/full")


def test_a_deadline_saves_a_checkpoint_and_the_same_command_continues(
    tmp_path, text, uninterrupted
):
    with pytest.raises(StepimpError, match="1b stopped after 0 minutes at step 1 of 7"):
        train(tmp_path, text, callbacks=[Deadline(0)])
    assert last_checkpoint(tmp_path / "1b.training").name == "checkpoint-1"
    assert dict(train(tmp_path, text, callbacks=[Deadline(60)])) == uninterrupted[1]
    assert equal(weights(tmp_path), weights(uninterrupted[0]))


def test_snapshots_are_models_and_change_nothing(tmp_path, text, uninterrupted):
    assert dict(train(tmp_path, text, recipe=replace(RECIPE, snapshot_every=3))) == uninterrupted[1]
    assert equal(weights(tmp_path), weights(uninterrupted[0]))
    folder = tmp_path / "1b.snapshots"
    assert {part.name for part in folder.iterdir()} == {"3", "6"}
    family = load([str(folder / "3"), "1b"], tmp_path)
    facts = json.loads((folder / "3" / "snapshot.json").read_text())
    held_out = load_blocks(str(text), family.tokenizer, SHAPE["model_length"], "heldout")
    assert facts["step"] == 3 and facts["sequences"] == 12
    nelbo = evaluate_nelbo(load_checkpoint(str(folder / "3"), "cpu"), held_out.tokens)
    assert facts["heldout_nats_per_token"] == pytest.approx(nelbo, rel=1e-5)
