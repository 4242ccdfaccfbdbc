"""Checkpoints of the MDLM trainer: EMA weights, config as inert data, and no pickle executed."""

import os
from contextlib import suppress

import pytest
import torch
from tiny_lightning import foreign_classes, shape_of, write
from tiny_models import word_tokenizer

from stepimp.errors import StepimpError
from stepimp.models.adding import add_member
from stepimp.models.checkpoints import fingerprint, load_checkpoint
from stepimp.models.convert import convert
from stepimp.models.loading import load

SHAPE = dict(noise="loglinear", n_blocks=2)


@pytest.fixture
def models(random_model):
    """The last weights and their average."""
    return random_model(1, **SHAPE), random_model(2, **SHAPE)


@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module."])
def test_the_averaged_weights_are_loaded(tmp_path, models, prefix):
    last, average = models
    path = write(tmp_path / "last.ckpt", last, average, prefix)
    model = load_checkpoint(path, "cpu")
    assert model.fingerprint == fingerprint(average) != fingerprint(last)
    z = torch.randint(0, 24, (2, 9))
    assert torch.allclose(model(z).logits, average(z).logits, atol=1e-5)
    assert (model.blocks, model.max_length, model.mask_id) == (2, 32, 23)
    assert model.noise.name == "loglinear" and not model.time_conditioned


def test_averages_of_a_noise_schedule_come_last(tmp_path, models):
    last, average = models
    shadow = [p.detach() for p in average.backbone.parameters()] + [torch.ones(1)]
    state = last.state_dict() | {"noise.sigma": torch.ones(1)}
    content = {"ema": {"shadow_params": shadow}, "state_dict": state}
    path = write(tmp_path / "last.ckpt", last, average, content=content)
    assert load_checkpoint(path, "cpu").fingerprint == fingerprint(average)


REFUSED = {
    "Duo": (dict(algo={"name": "duo"}), "uniform state"),
    "UDLM": (dict(diffusion="uniform"), "uniform state"),
    "SEDD": (dict(parameterization="sedd"), "ratios of probabilities"),
    "D3PM": (dict(parameterization="d3pm"), "carries no unmasked tokens over"),
    "an autoregressive model": (dict(parameterization="ar"), "autoregressive"),
    "BD3-LM": (dict(algo={"name": "bd3lm"}), "block after block"),
    "Duo's base": (dict(algo={"name": "duo_base"}), "uniform state.*algo.name is 'duo_base'"),
    "a distilled model": (dict(algo={"name": "distillation"}), "algo.name = 'distillation'"),
    "another parameterization": (dict(parameterization="mean"), "parameterization = 'mean'"),
    "that of an algorithm": (
        dict(algo={"name": "mdlm", "parameterization": "mean"}),
        "algo.parameterization = 'mean'",
    ),
    "another backbone": (dict(backbone="dimamba"), "backbone = 'dimamba'"),
    "causal attention": (dict(algo={"causal_attention": True}), "causal_attention = True"),
    "discrete time": (dict(T=1000), "T = 1000"),
    "a tied head": (
        dict(model={"tie_word_embeddings": True, "length": 8}),
        "embedding is tied",
    ),
    "contradicting time inputs": (
        dict(time_conditioning=False, algo={"name": "mdlm", "time_conditioning": True}),
        "config contradicts itself",
    ),
    "a noise that is a word": (dict(noise="loglinear"), "'noise' that is not a mapping"),
    "data that is a word": (dict(data="x"), "'data' that is not a mapping"),
    "a tokenizer that is a number": (
        dict(data={"tokenizer_name_or_path": 5}),
        "names the tokenizer 5",
    ),
    "an algorithm that is a word": (dict(algo="mdlm"), "'algo' that is not a mapping"),
    "another noise": (dict(noise={"type": "geometric"}), "'geometric'"),
    "a config without a model": (dict(model=None), "no config with a part 'model'"),
    "a config without depth": (dict(model={"length": 8}), "no field 'hidden_size'"),
}


@pytest.mark.parametrize("changes, message", REFUSED.values(), ids=REFUSED)
def test_what_is_no_mdlm_is_refused_with_the_reason(tmp_path, models, changes, message):
    path = write(tmp_path / "last.ckpt", *models, changes=changes)
    with pytest.raises(StepimpError, match=message):
        load_checkpoint(path, "cpu")


@pytest.mark.parametrize("value", ["${x}", "2", 0, 2.0, True, None])
def test_a_shape_that_is_not_a_number(tmp_path, models, value):
    shape = shape_of(models[0].config) | {"n_blocks": value}
    path = write(tmp_path / "last.ckpt", *models, changes={"model": shape})
    with pytest.raises(StepimpError, match="config.model has n_blocks = "):
        load_checkpoint(path, "cpu")


def test_more_blocks_than_tensors(tmp_path, models):
    shape = shape_of(models[0].config) | {"n_blocks": 10**9}
    path = write(tmp_path / "last.ckpt", *models, changes={"model": shape})
    with pytest.raises(StepimpError, match="1000000000 blocks in 31 tensors"):
        load_checkpoint(path, "cpu")


@pytest.mark.parametrize("places", [("config",), ("algo",), ("config", "algo")])
def test_the_time_input_may_be_switched_on_in_two_places(tmp_path, random_model, places):
    last, average = (random_model(seed, time_conditioning=True, **SHAPE) for seed in (1, 2))
    on = {"time_conditioning": True}
    changes = {"time_conditioning": None} | (on if "config" in places else {})
    changes |= {"algo": {"name": "mdlm"} | (on if "algo" in places else {})}
    model = load_checkpoint(write(tmp_path / "last.ckpt", last, average, changes=changes), "cpu")
    z, t = torch.randint(0, 24, (2, 9)), torch.tensor([0.3, 0.9])
    assert model.time_conditioned
    assert torch.allclose(model(z, t).logits, average(z, t).logits, atol=1e-5)


def test_a_config_as_the_repository_writes_it_loads(tmp_path, models):
    changes = {"diffusion": "absorbing_state", "T": 0, "subs_masking": False, "algo": None}
    path = write(tmp_path / "last.ckpt", *models, changes=changes)
    assert load_checkpoint(path, "cpu").fingerprint == fingerprint(models[1])


def test_averages_follow_the_order_of_the_model_not_of_the_state_dict(tmp_path, models):
    state = dict(sorted(models[0].state_dict().items(), key=lambda item: "blocks.0" in item[0]))
    assert list(state) != list(models[0].state_dict())
    path = write(tmp_path / "last.ckpt", *models, content={"state_dict": state})
    assert load_checkpoint(path, "cpu").fingerprint == fingerprint(models[1])


WRONG = {
    "another tensor": ({"backbone.more": torch.ones(3)}, "extra backbone.more"),
    "a scalar embedding": ({"backbone.vocab_embed.embedding": torch.ones(())}, "has no matrix"),
    "a number": ({"backbone.more": 3}, "not a dict of tensors"),
}


@pytest.mark.parametrize("change, message", WRONG.values(), ids=WRONG)
def test_a_wrong_state_dict_is_named(tmp_path, models, change, message):
    content = {"state_dict": dict(models[0].state_dict()) | change}
    path = write(tmp_path / "last.ckpt", *models, content=content)
    with pytest.raises(StepimpError, match=message):
        load_checkpoint(path, "cpu")


@pytest.mark.parametrize("shadow", [5, None, "x"])
def test_averages_that_are_not_a_list(tmp_path, models, shadow):
    path = write(tmp_path / "last.ckpt", *models, content={"ema": {"shadow_params": shadow}})
    with pytest.raises(StepimpError, match="shadow_params holds 0 entries"):
        load_checkpoint(path, "cpu")


def test_averages_stored_as_integers_are_refused(tmp_path, models):
    shadow = [p.detach().int() for p in models[1].backbone.parameters()]
    path = write(tmp_path / "last.ckpt", *models, content={"ema": {"shadow_params": shadow}})
    with pytest.raises(StepimpError, match="is stored as int32"):
        load_checkpoint(path, "cpu")


def test_averages_of_another_number_or_order(tmp_path, models, random_model):
    path = write(tmp_path / "short.ckpt", *models, content={"ema": {"shadow_params": []}})
    with pytest.raises(StepimpError, match="shadow_params holds 0 entries for the 30 parameters"):
        load_checkpoint(path, "cpu")
    shadow = [p.detach() for p in models[1].backbone.parameters()][::-1]
    path = write(tmp_path / "turned.ckpt", *models, content={"ema": {"shadow_params": shadow}})
    with pytest.raises(StepimpError, match="in another order: backbone.vocab_embed.embedding"):
        load_checkpoint(path, "cpu")
    path = str(tmp_path / "none.ckpt")
    torch.save({"state_dict": dict(models[0].state_dict())}, path)
    with pytest.raises(StepimpError, match="it lacks ema, hyper_parameters"):
        load_checkpoint(path, "cpu")


class Payload:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("place", ["hyper_parameters", "state_dict", "callbacks"])
def test_a_payload_is_never_executed(tmp_path, models, place):
    target = tmp_path / "executed"
    calls = [
        Payload(os.mkdir, str(target)),
        Payload(eval, f"__import__('os').mkdir({str(target)!r})"),
    ]
    path = write(tmp_path / "last.ckpt", *models, content={place: calls})
    if place == "callbacks":  # which nobody reads
        assert load_checkpoint(path, "cpu").fingerprint == fingerprint(models[1])
    else:
        with pytest.raises(StepimpError):
            load_checkpoint(path, "cpu")
    assert not target.exists()
    with foreign_classes(), suppress(FileExistsError):  # by its second call
        torch.load(path, weights_only=False)  # the payload works where it is executed
    assert target.exists()


DAMAGE = {
    "truncated": (lambda b: b[: len(b) // 2], "truncated"),
    "empty": (lambda b: b"", "truncated"),
    "a Git LFS pointer": (
        lambda b: b"version https://git-lfs.github.com/spec/v1\noid",
        "LFS pointer",
    ),
}


@pytest.mark.parametrize("damage, message", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_named(tmp_path, models, damage, message):
    path = write(tmp_path / "last.ckpt", *models)
    (tmp_path / "last.ckpt").write_bytes(damage((tmp_path / "last.ckpt").read_bytes()))
    with pytest.raises(StepimpError, match=f"last.ckpt.*{message}"):
        load_checkpoint(path, "cpu")


def test_a_family_of_lightning_checkpoints_and_their_conversion(tmp_path, random_model):
    tokenizer = word_tokenizer()
    shape = dict(vocab_size=len(tokenizer), mask_token_id=tokenizer.mask_token_id, **SHAPE)
    last, average = random_model(1, **shape), random_model(2, **shape)
    path = write(tmp_path / "run" / "last.ckpt", last, average)
    tokenizer.save_pretrained(tmp_path / "run")
    facts = add_member(tmp_path / "family", "2b", path)
    assert facts["fingerprint"] == fingerprint(average) and facts["noise"] == "loglinear"
    convert(path, tmp_path / "converted")
    folder = str(tmp_path / "converted")
    family = load(["2b", folder], tmp_path / "family", "cpu")
    assert set(family.fingerprints.values()) == {fingerprint(average)}
    assert family.any.mask_id == 1 and family.denoisers[folder].mask_id == 1
    with pytest.raises(StepimpError, match="copy holds the same weights as 2b"):
        add_member(tmp_path / "family", "copy", folder)
