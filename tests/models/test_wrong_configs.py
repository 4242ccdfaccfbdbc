"""A config.json that describes no model ends in one message; what newer versions write loads."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_layouts import LAYOUTS

from stepimp.errors import StepimpError
from stepimp.models.convert import convert
from stepimp.models.loading import load


def edit(path, change):
    file = Path(path) / "config.json"
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))


def rename(path, prefix):
    file = Path(path) if str(path).endswith(".safetensors") else Path(path) / "model.safetensors"
    save_file({prefix + name: tensor for name, tensor in load_file(file).items()}, file)


def refusal(path, folder):
    with pytest.raises(StepimpError) as error:
        load([str(path)], folder, "cpu")
    return str(error.value)


NO_MODEL = "its config.json describes no model that stepimp loads"
WRONG = {
    "a depth that is a word": ("dream", dict(num_hidden_layers="2"), NO_MODEL),
    "heads that are a fraction": ("llada", dict(n_heads=2.0), NO_MODEL),
    "a width of 0": ("llada", dict(d_model=0), NO_MODEL),
    "a mask that is a word": ("llada", dict(mask_token_id="x"), "mask_id is 'x'"),
    "an unknown activation": ("qwen3", dict(hidden_act="nonexistent"), NO_MODEL),
    "no padding": ("roberta", dict(pad_token_id=None), NO_MODEL),
    "a kind that is a list": ("bert", dict(model_type=["bert"]), "model_type is"),
    "positions that are a word": ("bert", dict(max_position_embeddings="x"), NO_MODEL),
    "a rotary embedding that is a number": ("dream", dict(rope_parameters=5), NO_MODEL),
    "a scaled rotary embedding": (
        "dream",
        dict(rope_parameters={"rope_type": "yarn", "factor": 4.0}),
        "rotary embedding is scaled",
    ),
    "no vocabulary": ("bert", dict(vocab_size="x"), NO_MODEL),
    "more blocks than tensors": ("llada", dict(n_layers=10**9), "1000000000 blocks in 21 tensors"),
    "heads below 0": ("llada", dict(n_heads=-1), NO_MODEL),
    "half of the shape missing": ("llada", dict(d_model=None), "no field 'd_model'"),
}


@pytest.mark.parametrize("kind, fields, message", WRONG.values(), ids=WRONG)
def test_wrong_values_are_refused(tmp_path, kind, fields, message):
    path, _ = LAYOUTS[kind](tmp_path / "a", 2, 1)
    edit(path, lambda config: config.update(fields))
    assert message in refusal(path, tmp_path)


OTHER_FORWARD = {
    "activation_type": "gelu",
    "rope": False,
    "alibi": True,
    "scale_logits": True,
    "attention_layer_norm": True,
    "input_emb_norm": True,
    "clip_qkv": 8.0,
    "layer_norm_type": "default",
    "block_type": "sequential",
    "include_bias": True,
}


@pytest.mark.parametrize("field, value", OTHER_FORWARD.items(), ids=OTHER_FORWARD)
def test_a_llada_that_computes_otherwise_is_refused(tmp_path, field, value):
    path, _ = LAYOUTS["llada"](tmp_path / "a", 1, 1)
    edit(path, lambda config: config.update({field: value}))
    assert f"{field} = {value!r}, which changes the forward pass" in refusal(path, tmp_path)


def test_a_llada_config_as_published_loads(tmp_path):
    path, _ = LAYOUTS["llada"](tmp_path / "a", 1, 1)
    no = ("alibi", "scale_logits", "attention_layer_norm", "input_emb_norm", "include_bias")
    fields = dict.fromkeys(no, False) | {"rope": True, "activation_type": "silu", "clip_qkv": None}
    edit(path, lambda config: config.update(fields))
    assert load([path], tmp_path, "cpu").any.blocks == 1


def test_flags_of_the_output_change_nothing(tmp_path):
    path, _ = LAYOUTS["bert"](tmp_path / "a", 1, 1)
    before = load([path], tmp_path, "cpu").fingerprints
    edit(path, lambda config: config.update(output_hidden_states=True, return_dict=False))
    assert load([path], tmp_path, "cpu").fingerprints == before


def test_rotary_embeddings_as_newer_versions_write_them(tmp_path):
    for kind in ("dream", "llada"):
        path, reference = LAYOUTS[kind](tmp_path / kind, 2, 1)

        def newer(config):
            theta = config.pop("rope_theta")
            config["rope_parameters"] = {"rope_type": "default", "rope_theta": theta}

        edit(path, newer)
        model = load([path], tmp_path, "cpu").any
        z = torch.randint(5, 30, (2, 8))
        logits = model.logits(model.hidden(z).flatten(0, 1))[:, 5:40].double()
        exact = reference(z).flatten(0, 1)[:, 5:40]
        tolerance = 1e-5 * float(1 + exact.detach().abs().max())
        assert torch.allclose(logits, exact, rtol=0, atol=tolerance)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module."])
@pytest.mark.parametrize("kind", ["smdm", "diffugpt", "bert", "llada"])
def test_keys_of_a_wrapped_model_are_explained(tmp_path, kind, prefix):
    path, _ = LAYOUTS[kind](tmp_path / "a", 1, 1)
    rename(path, prefix)
    assert f"All keys begin with `{prefix}`: remove it" in refusal(path, tmp_path)


@pytest.mark.parametrize("rows, loads", [(41, True), (42, True), (40, False), (60, False)])
def test_the_head_of_an_smdm_lacks_at_most_the_row_of_the_mask(tmp_path, rows, loads):
    path, _ = LAYOUTS["smdm"](tmp_path / "a", 1, 1)
    tensors = load_file(path)
    assert tensors["lm_head.weight"].shape == (41, 128)
    save_file(tensors | {"lm_head.weight": torch.ones(rows, 128)}, path)
    if loads:
        assert load([path], tmp_path, "cpu").any.mask_id == 41
    else:
        assert f"lm_head.weight has shape ({rows}, 128)" in refusal(path, tmp_path)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    path, _ = LAYOUTS["bert"](folder / "bert", 1, 1)
    convert(path, folder / "a")
    return folder / "a"


ENTRIES = {
    "shift": 2,
    "max_length": 0,
    "noise": "cosine",
    "mask_id": "x",
    "special_tokens": "yes",
    "trained_masking": 2.0,
    "name": 5,
}


@pytest.mark.parametrize("field", [*ENTRIES, "missing", "more"])
def test_a_converted_folder_is_held_to_what_convert_writes(converted, field):
    before = (converted / "config.json").read_text()

    def change(config):
        if field == "missing":
            del config["stepimp"]["max_length"]
        else:
            config["stepimp"][field] = ENTRIES.get(field, 1)

    edit(converted, change)
    try:
        message = refusal(converted, converted)
    finally:
        (converted / "config.json").write_text(before)
    assert load([str(converted)], converted, "cpu").any.blocks == 1
    named = {"missing": "max_length", "noise": "noise schedule 'cosine'"}
    assert named.get(field, field) in message


@pytest.mark.parametrize("names", [["A", "B"], [], None, "BertModel", 5, ["LlamaForCausalLM"]])
def test_a_converted_folder_names_one_class(converted, names):
    before = (converted / "config.json").read_text()
    edit(converted, lambda config: config.update(architectures=names))
    try:
        message = refusal(converted, converted)
    finally:
        (converted / "config.json").write_text(before)
    # the lowest transformers checks the type of the field by itself
    said = ("which is not its model", "Field 'architectures' expected")
    assert NO_MODEL in message and any(words in message for words in said)
