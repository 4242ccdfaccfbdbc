"""Checkpoints of the MDLM trainer: EMA weights, config as inert data, and no pickle executed."""

import os
from contextlib import suppress

import pytest
import torch
from tiny_lightning import foreign_classes, write
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
    "another noise": (dict(noise={"type": "geometric"}), "'geometric'"),
    "a config without a model": (dict(model=None), "no config with a part 'model'"),
    "a config without depth": (dict(model={"length": 8}), "no field 'hidden_size'"),
}


@pytest.mark.parametrize("changes, message", REFUSED.values(), ids=REFUSED)
def test_what_is_no_mdlm_is_refused_with_the_reason(tmp_path, models, changes, message):
    path = write(tmp_path / "last.ckpt", *models, changes=changes)
    with pytest.raises(StepimpError, match=message):
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
