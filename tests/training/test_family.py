import json
import math
import resource
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback
from transformers.utils import logging

from stepimp.errors import StepimpError
from stepimp.models.checkpoints import load_checkpoint
from stepimp.models.family import read_manifest
from stepimp.models.loading import load
from stepimp.text.blocks import load_blocks, train_tokenizer
from stepimp.training import family as training_family
from stepimp.training import objective
from stepimp.training.family import train_family
from stepimp.training.objective import (
    MIN_T,
    evaluate_nelbo,
    initialize,
    low_discrepancy_times,
    nelbo_loss,
)
from stepimp.training.trainer import EMA, last_checkpoint

SHAPE = dict(model_length=16, hidden_dim=16, cond_dim=4, n_heads=2, dropout=0.1, noise="linear")
RECIPE = dict(steps=7, batch_size=4, muon_lr=0.02, adamw_lr=0.01, warmup=2, ema=0.8, save_every=2)
RECIPE |= dict(weights="float32", bf16=False, compile=False)


class Killed(Exception):
    pass


class KillAt(TrainerCallback):
    """Ends a training without warning after a step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            raise Killed


def train(
    folder,
    text,
    depths=(1,),
    callbacks=(),
    baseline_seed=None,
    recipe=RECIPE,
    teacher=None,
    **shape,
):
    options = dict(vocab_size=262, command="stepimp train", callbacks=callbacks, teacher=teacher)
    return list(
        train_family(
            folder, list(depths), 3, baseline_seed, {**SHAPE, **shape}, recipe, str(text), **options
        )
    )


def weights(folder, name="1b"):
    return load_file(folder / name / "model.safetensors")


def equal(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


@pytest.fixture(scope="module")
def text(tmp_path_factory, tiny_text):
    """A little less than two epochs of the recipe."""
    file = tmp_path_factory.mktemp("text") / "short.txt"
    file.write_text(tiny_text.read_text()[:700])
    return file


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("whole")
    return folder, dict(train(folder, text))


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_one_time_falls_into_each_of_n_equal_intervals(n):
    t = low_discrepancy_times(n, "cpu")
    assert ((t > MIN_T) & (t <= 1)).all()
    interval = ((1 - t.double()) / (1 - MIN_T) * n).floor()
    assert sorted(interval.tolist()) == list(range(n))
    assert not torch.equal(t, low_discrepancy_times(n, "cpu"))


@pytest.mark.parametrize("noise", ["linear", "loglinear"])
@pytest.mark.parametrize("time_conditioning", [False, True])
def test_the_loss_is_the_weighted_cross_entropy_of_masked_tokens(
    random_model, noise, time_conditioning
):
    model = random_model(1, noise=noise, time_conditioning=time_conditioning).double()
    x, t = torch.randint(23, (5, 12)), torch.tensor([0.05, 0.2, 0.5, 0.8, 1.0], dtype=torch.float64)
    uniforms = torch.rand(x.shape, dtype=torch.float64)
    eps = 1e-3 if noise == "loglinear" else 0
    expected = 0.0
    for row, u, time in zip(x, uniforms, t):
        masked = u < (1 - eps) * time
        z = torch.where(masked, torch.tensor(23), row)
        log_p = model(z[None], timesteps=time[None]).logits[0].log_softmax(-1)
        expected -= log_p[torch.arange(12), row][masked].sum() / time
    assert nelbo_loss(model, x, t, uniforms).item() == pytest.approx(
        expected.item() / x.numel(), rel=1e-10
    )


def test_with_a_teacher_its_predictions_take_the_place_of_the_tokens(random_model):
    model, teacher = (random_model(seed).double() for seed in (1, 2))
    x, t = torch.randint(23, (3, 12)), torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)
    uniforms, expected = torch.rand(x.shape, dtype=torch.float64), 0.0
    for row, u, time in zip(x, uniforms, t):
        masked = u < time
        z = torch.where(masked, torch.tensor(23), row)[None]
        p, log_q = (
            one(z, timesteps=time[None]).logits[0, masked, :23].log_softmax(-1)
            for one in (teacher, model)
        )
        expected -= (p.exp() * log_q).sum() / time
    loss = nelbo_loss(model, x, t, uniforms, teacher=teacher)
    assert loss.item() == pytest.approx(expected.item() / x.numel(), rel=1e-10)


def test_a_model_that_is_its_own_teacher_has_nothing_to_learn(random_model):
    model = random_model(1).double()
    x, t = torch.randint(23, (3, 12)), torch.full((3,), 0.5, dtype=torch.float64)
    nelbo_loss(model, x, t, torch.rand(x.shape, dtype=torch.float64), teacher=model).backward()
    assert all(p.grad is None or p.grad.abs().max() < 1e-12 for p in model.parameters())


def test_evaluation_is_deterministic_and_needs_no_batch_size(random_model):
    model, tokens = random_model(1), torch.randint(23, (30, 12))
    torch.manual_seed(1)
    first = evaluate_nelbo(model, tokens)
    torch.manual_seed(2)
    assert evaluate_nelbo(model, tokens) == first
    assert evaluate_nelbo(model, tokens, batch_size=7) == pytest.approx(first, rel=1e-5)


def test_the_nelbo_of_a_uniform_model_is_the_log_of_its_vocabulary(random_model):
    model = random_model()
    (
        model.backbone.output_layer.linear.weight.data.zero_(),
        model.backbone.output_layer.linear.bias.data.zero_(),
    )
    tokens = torch.randint(23, (2000, 12), generator=torch.Generator().manual_seed(0))
    assert evaluate_nelbo(model, tokens, batch_size=500) == pytest.approx(math.log(23), rel=0.05)


def test_opened_gates_let_no_attention_through_and_all_of_its_gradient(random_model):
    model = random_model()
    initialize(model)
    for block in model.backbone.blocks:
        _, _, gate_attention, _, _, gate_mlp = block.adaLN_modulation.bias.chunk(6)
        assert (gate_attention == 4 / model.blocks).all() and (gate_mlp == 4 / model.blocks).all()
    z, other = torch.zeros(1, 12, dtype=torch.long), torch.zeros(1, 12, dtype=torch.long)
    other[0, -1] = 5
    assert torch.equal(model.hidden(z)[:, :-1], model.hidden(other)[:, :-1])
    model(other, labels=other).loss.backward()
    assert all(block.attn_out.weight.grad.abs().sum() > 0 for block in model.backbone.blocks)


def test_the_average_is_that_computed_by_hand(random_model):
    model, other = random_model(1), random_model(2)
    ema = EMA(model, 0.8)
    ema.on_train_begin(None, type("State", (), {"global_step": 0}), None)
    first, second = ({name: p.clone() for name, p in m.named_parameters()} for m in (model, other))
    ema.on_step_end(None, None, None)
    model.load_state_dict(other.state_dict())
    for _ in range(2):
        ema.on_step_end(None, None, None)
    for name, p in ema.average.module.named_parameters():
        assert torch.allclose(p, 0.64 * first[name] + 0.36 * second[name], atol=1e-6)


def test_a_trained_family_loads_and_says_how_good_it_is(uninterrupted, text):
    folder, nelbo = uninterrupted
    facts = read_manifest(folder)["members"]["1b"]
    assert facts["heldout_nelbo_nats"] == nelbo["1b"] and (facts["blocks"], facts["seed"]) == (1, 3)
    assert facts["recipe"] == RECIPE and len(facts["data_fingerprint"]) == 12
    family = load(["1b"], folder)
    assert len(family.tokenizer) == family.any.vocab_size == 262
    held_out = load_blocks(str(text), family.tokenizer, SHAPE["model_length"], "heldout")
    assert evaluate_nelbo(family.any, held_out.tokens) == pytest.approx(nelbo["1b"], rel=1e-5)
    files = {file.name for file in folder.iterdir()}
    assert files == {"1b", "family.json", "tokenizer.json", "tokenizer_config.json"}


def test_training_lowers_the_loss(tmp_path, text):
    long = {**RECIPE, "steps": 60, "save_every": 60}
    assert dict(train(tmp_path, text, recipe=long))["1b"] < math.log(262) - 1


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
    fast = {**RECIPE, "bf16": True, "compile": True}
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

    recipe = {**RECIPE, "steps": 2 * RECIPE["save_every"]}
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


def test_every_depth_has_its_own_initialisation(tmp_path, text):
    train(tmp_path, text, depths=(1, 2), recipe={**RECIPE, "steps": 1})
    one, two = (weights(tmp_path, name)["backbone.vocab_embed.embedding"] for name in ("1b", "2b"))
    assert not torch.allclose(one, two, atol=0.1)


def test_finished_members_are_left_alone_and_others_added(tmp_path, text, uninterrupted):
    for file in uninterrupted[0].rglob("*"):
        if file.is_file():
            (tmp_path / file.relative_to(uninterrupted[0])).parent.mkdir(exist_ok=True)
            (tmp_path / file.relative_to(uninterrupted[0])).write_bytes(file.read_bytes())
    before = (tmp_path / "1b" / "model.safetensors").stat().st_mtime_ns
    short = {**RECIPE, "steps": 1}
    added = train(tmp_path, text, depths=(1, 2), baseline_seed=5, recipe=short)
    assert [name for name, _ in added] == ["2b", "2b_seed5"]
    assert (tmp_path / "1b" / "model.safetensors").stat().st_mtime_ns == before
    assert load(["1b", "2b", "2b_seed5"], tmp_path).blocks == {"1b": 1, "2b": 2, "2b_seed5": 2}
    assert not equal(weights(tmp_path, "2b"), weights(tmp_path, "2b_seed5"))
    assert train(tmp_path, text, depths=(1, 2), baseline_seed=5, recipe=short) == []


def test_an_unfinished_training_goes_on_with_its_own_options_alone(tmp_path, text, uninterrupted):
    with pytest.raises(Killed):
        train(tmp_path, text, callbacks=[KillAt(3)])
    teacher = str(uninterrupted[0] / "1b")
    for change in (
        dict(hidden_dim=32),
        dict(recipe={**RECIPE, "muon_lr": 0.1}),
        dict(teacher=teacher),
    ):
        with pytest.raises(
            StepimpError, match="1b.training holds an unfinished training with other options"
        ):
            train(tmp_path, text, **change)


def test_stored_weights_take_the_dtype_asked_for(tmp_path, text):
    train(tmp_path, text, recipe={**RECIPE, "steps": 1, "weights": "bfloat16"})
    assert {tensor.dtype for tensor in weights(tmp_path).values()} == {torch.bfloat16}
    load_checkpoint(str(tmp_path / "1b"), "cpu")


def test_a_family_that_learns_from_a_teacher_says_so(tmp_path, text, uninterrupted):
    teacher = str(uninterrupted[0] / "1b")
    train(tmp_path, text, teacher=teacher)
    assert read_manifest(tmp_path)["members"]["1b"]["teacher"] == teacher
    assert not equal(weights(tmp_path), weights(uninterrupted[0]))


def test_a_teacher_of_other_tokens_or_noise_or_of_shorter_texts(tmp_path, text, uninterrupted):
    teacher = str(uninterrupted[0] / "1b")
    with pytest.raises(StepimpError, match="--length up to that"):
        train(tmp_path / "longer", text, teacher=teacher, model_length=20)
    with pytest.raises(StepimpError, match="choose --noise linear"):
        train(tmp_path / "noise", text, teacher=teacher, noise="loglinear")
    other = tmp_path / "other.txt"
    other.write_text("another text altogether, of which another tokenizer comes. " * 30)
    with pytest.raises(StepimpError, match="another tokenizer"):
        train(tmp_path / "other", other, teacher=teacher)


def test_a_tokenizer_without_a_mask_token_gets_one_after_its_last(tmp_path, text):
    tokenizer = train_tokenizer(str(text), 262)
    tokenizer.mask_token = None
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    options = dict(tokenizer_name=str(tmp_path / "tokenizer"))
    list(
        train_family(
            tmp_path / "f", [1], 3, None, SHAPE, {**RECIPE, "steps": 1}, str(text), **options
        )
    )
    model = load_checkpoint(str(tmp_path / "f" / "1b"), "cpu")
    assert (model.mask_id, model.vocab_size) == (262, 263)


def test_training_prints_nothing(tmp_path, text, capfd):
    logging.enable_progress_bar()
    train(tmp_path, text)
    assert capfd.readouterr() == ("", "")


def test_text_for_less_than_one_batch(tmp_path, text):
    with pytest.raises(StepimpError, match="less than one batch of 4000: lower --batch-size"):
        train(tmp_path, text, recipe={**RECIPE, "batch_size": 4000})


def test_a_training_that_diverges_writes_no_member(tmp_path, text):
    with pytest.raises(StepimpError, match="1b diverged.*lower --muon-lr"):
        train(tmp_path, text, recipe={**RECIPE, "muon_lr": 1e30, "adamw_lr": 1e30})
    assert not (tmp_path / "1b").exists()


def test_a_folder_that_cannot_be_written_is_found_before_the_text_is_read(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StepimpError, match="Cannot write to .*file/family"):
        train(tmp_path / "file" / "family", "missing.txt")


def test_a_tokenizer_that_cannot_be_loaded(tmp_path, text):
    with pytest.raises(StepimpError, match="Cannot load the tokenizer of nobody/nothing"):
        list(
            train_family(
                tmp_path, [1], 3, None, SHAPE, RECIPE, str(text), tokenizer_name="nobody/nothing"
            )
        )


def test_a_damaged_manifest_stops_a_training(tmp_path, text):
    (tmp_path / "family.json").write_text(json.dumps({"schema": "stepimp-family/1"}))
    with pytest.raises(StepimpError, match="family.json is damaged"):
        train(tmp_path, text)
