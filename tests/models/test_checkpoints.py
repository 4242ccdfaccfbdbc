import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from stepimp.errors import StepimpError
from stepimp.models.checkpoints import fingerprint, load_checkpoint
from stepimp.models.placement import pick_device

HEAD = "backbone.output_layer.linear.weight"


@pytest.fixture
def checkpoint(random_model, tmp_path):
    random_model(1).save_pretrained(tmp_path)
    return tmp_path


def load(folder, **options):
    return load_checkpoint(str(folder), "cpu", **options)


def rewrite(folder, change):
    """Changes the stored tensors in place."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def pickled(folder, content):
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")


def edit_config(folder, **fields):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def with_nan(tensors):
    tensors["backbone.blocks.1.attn_out.weight"][3, 2] = torch.nan


def with_infinity(tensors):
    tensors["backbone.blocks.0.mlp.0.bias"][0] = torch.inf


MISTAKES = {
    "a missing tensor": (lambda t: t.pop(HEAD), f"missing {HEAD}"),
    "an extra tensor": (lambda t: t.update(extra=torch.ones(2)), "extra extra"),
    "another shape": (
        lambda t: t.update({HEAD: torch.ones(5, 16)}),
        rf"{HEAD} has shape \(5, 16\), not \(24, 16\)",
    ),
    "no rotary table": (
        lambda t: t.pop("backbone.rotary_emb.inv_freq"),
        "missing backbone.rotary_emb.inv_freq",
    ),
    "another rotary base": (
        lambda t: t["backbone.rotary_emb.inv_freq"].mul_(0.5),
        "not the rotary embedding of base",
    ),
    "NaN": (with_nan, "blocks.1.attn_out.weight holds NaN or Inf"),
    "infinity": (with_infinity, "blocks.0.mlp.0.bias holds NaN or Inf"),
}


@pytest.mark.parametrize("change, message", MISTAKES.values(), ids=MISTAKES)
def test_wrong_tensors_are_named(checkpoint, change, message):
    rewrite(checkpoint, change)
    with pytest.raises(StepimpError, match=message):
        load(checkpoint)


@pytest.mark.parametrize(
    "blocks, message", [(1, "extra backbone.blocks.1"), (3, "missing backbone.blocks.2")]
)
def test_a_config_of_another_depth_is_noticed(checkpoint, blocks, message):
    edit_config(checkpoint, n_blocks=blocks)
    with pytest.raises(StepimpError, match=message):
        load(checkpoint)


CONFIGS = {
    "another architecture": ({"model_type": "gpt2"}, "holds a 'gpt2' model: it is autoregressive"),
    "no architecture": ({"model_type": None}, "holds a None model"),
    "an unknown noise schedule": (
        {"noise": "cosine"},
        "noise schedule 'cosine'.*linear, loglinear",
    ),
    "heads that do not divide the width": ({"n_heads": 3}, "hidden_dim 16"),
    "no heads": ({"n_heads": 0}, "Cannot load"),
    "a width that is not a number": ({"hidden_dim": "wide"}, "Cannot load"),
    "a mask token outside the vocabulary": ({"mask_token_id": 24}, "mask_token_id 24"),
}


@pytest.mark.parametrize("fields, message", CONFIGS.values(), ids=CONFIGS)
def test_a_config_that_fits_no_model_is_explained(checkpoint, fields, message):
    edit_config(checkpoint, **fields)
    with pytest.raises(StepimpError, match=message):
        load(checkpoint)


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(StepimpError, match="no config.json"):
        load(tmp_path)


def test_a_file_that_is_no_checkpoint(tmp_path):
    (tmp_path / "weights").write_text("x")
    with pytest.raises(StepimpError, match="no config.json"):
        load(tmp_path / "weights")


DAMAGE = {
    "half": lambda b: b[: len(b) // 2],
    "empty": lambda b: b"",
    "garbled": lambda b: b"\0" + b[1:],
}


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_one_clear_message(checkpoint, file, damage):
    (checkpoint / file).write_bytes(damage((checkpoint / file).read_bytes()))
    with pytest.raises(StepimpError, match="Cannot load"):
        load(checkpoint)


def test_a_config_without_weights(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(StepimpError, match="Cannot load"):
        load(checkpoint)


def test_a_hub_id_that_cannot_be_reached():
    with pytest.raises(StepimpError, match="Cannot load nobody/nothing"):
        load("nobody/nothing")


def test_a_pickle_checkpoint_of_plain_tensors_loads(checkpoint, random_model):
    pickled(checkpoint, random_model(1).state_dict())
    assert load(checkpoint).fingerprint == fingerprint(random_model(1))


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_a_malicious_pickle_is_never_executed(checkpoint, random_model):
    target = checkpoint / "executed"
    pickled(checkpoint, {**random_model(1).state_dict(), "payload": Malicious(str(target))})
    with pytest.raises(StepimpError, match="convert it to safetensors"):
        load(checkpoint)
    assert not target.exists()


def test_remote_code_beside_a_checkpoint_is_never_executed(checkpoint):
    edit_config(
        checkpoint, auto_map={"AutoConfig": "evil.Config", "AutoModelForMaskedLM": "evil.Model"}
    )
    (checkpoint / "evil.py").write_text(f"import os\nos.mkdir({str(checkpoint / 'executed')!r})\n")
    load(checkpoint)
    assert not (checkpoint / "executed").exists()


def test_fingerprints_tell_weights_apart_and_nothing_else(checkpoint, random_model):
    same = fingerprint(random_model(1))
    assert load(checkpoint).fingerprint == load(checkpoint, dtype="bfloat16").fingerprint == same
    assert fingerprint(random_model(2)) != same
    rewrite(checkpoint, lambda tensors: tensors[HEAD][0, 0].add_(1e-6))
    assert load(checkpoint).fingerprint != same


def test_weights_swapped_between_equal_shapes_change_the_fingerprint(random_model):
    model = random_model(1)
    before = fingerprint(model)
    model.backbone.blocks = model.backbone.blocks[::-1]
    assert fingerprint(model) != before


def test_loading_prints_nothing(checkpoint, capfd):
    logging.enable_progress_bar()
    load(checkpoint)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "device, message",
    [("cuda", "sees no CUDA device.*the device cpu"), ("gpu", "Unknown device 'gpu'.*cuda:N")],
)
def test_a_device_that_is_not_there(device, message):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(StepimpError, match=message):
        pick_device(device)
