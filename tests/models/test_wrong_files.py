"""Every wrong file of a foreign layout ends in one message that names it."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_layouts import LAYOUTS, llada, masked_lm
from tiny_models import stored, word_tokenizer, write

from stepimp.errors import StepimpError
from stepimp.models import placement
from stepimp.models.checkpoints import load_checkpoint, open_checkpoint
from stepimp.models.loading import load

NORM = "model.transformer.blocks.1.attn_norm.weight"
SMDM_NORM = "transformer.h.1.norm_1.weight"


def rewrite(path, change):
    file = path if str(path).endswith(".safetensors") else f"{path}/model.safetensors"
    tensors = load_file(file)
    changed = change(tensors)
    save_file(tensors if changed is None else changed, file)


def remove(tensors, name):
    del tensors[name]


def fill_nan(tensors, name):
    tensors[name].fill_(torch.nan)


def refusal(path, *, together=False):
    with pytest.raises(StepimpError) as error:
        load([path], "nowhere", "cpu") if together else load_checkpoint(path, "cpu")
    return str(error.value)


CHANGES = {
    "missing": (lambda t: remove(t, NORM), f"missing {NORM}"),
    "extra": (lambda t: t.update(more=torch.ones(1)), "extra more"),
    "mis-shaped": (lambda t: t.update({NORM: torch.ones(5)}), f"{NORM} has shape (5,), not (32,)"),
    "NaN": (lambda t: fill_nan(t, NORM), f"{NORM} holds NaN or Inf"),
    "compiled": (
        lambda t: {f"_orig_mod.{name}": tensor for name, tensor in t.items()},
        "All keys begin with `_orig_mod.`",
    ),
}


@pytest.mark.parametrize("change, message", CHANGES.values(), ids=CHANGES)
def test_wrong_tensors_are_named_as_published(tmp_path, change, message):
    path, _ = llada(tmp_path / "a", 2, 1)
    rewrite(path, change)
    assert message in refusal(path)


def test_several_wrong_tensors_are_counted_and_one_of_each_kind_named(tmp_path):
    path, _ = llada(tmp_path / "a", 2, 1)

    def change(tensors):
        for name in [n for n in tensors if "ff_norm" in n]:
            tensors[name.replace("ff_norm", "mlp_norm")] = tensors.pop(name)
        tensors[NORM] = torch.ones(5)

    rewrite(path, change)
    message = refusal(path)
    assert "missing model.transformer.blocks.0.ff_norm.weight" in message
    assert "extra model.transformer.blocks.0.mlp_norm.weight" in message
    assert f"{NORM} has shape (5,)" in message and "(2 missing, 2 extra, 1 mis-shaped)" in message


def test_wrong_tensors_of_a_bare_file(tmp_path):
    path, _ = LAYOUTS["smdm"](tmp_path / "a", 2, 1)
    rewrite(path, lambda t: remove(t, SMDM_NORM))
    assert f"missing {SMDM_NORM}" in refusal(path)
    path, _ = LAYOUTS["smdm"](tmp_path / "b", 2, 1)
    rewrite(path, lambda t: t.update({"transformer.h.1.attn.attn.weight": torch.ones(9, 128)}))
    assert "transformer.h.1.attn.attn.weight has shape (9, 128)" in refusal(path)


def test_a_tied_tensor_that_differs(tmp_path):
    path, _ = masked_lm("bert")(tmp_path / "a", 2, 1)
    name = "cls.predictions.decoder.weight"
    rewrite(path, lambda t: t.update({name: torch.ones(45, 32)}))
    assert f"{name} differs from the embedding" in refusal(path)


def test_heads_of_the_pretraining_class_are_left_out_and_nothing_else(tmp_path):
    path, _ = masked_lm("bert")(tmp_path / "a", 2, 1)
    before = load_checkpoint(path, "cpu").fingerprint
    heads = {
        "cls.seq_relationship.weight": torch.ones(2, 32),
        "bert.pooler.dense.weight": torch.ones(32, 32),
        "bert.embeddings.position_ids": torch.arange(24)[None],
    }
    rewrite(path, lambda t: t.update(heads))
    assert load_checkpoint(path, "cpu").fingerprint == before
    rewrite(path, lambda t: t.update({"classifier.weight": torch.ones(2, 32)}))
    assert "extra classifier.weight" in refusal(path)


def test_norms_of_old_checkpoints_have_other_names(tmp_path):
    path, _ = masked_lm("bert")(tmp_path / "a", 2, 1)
    before = load_checkpoint(path, "cpu").fingerprint

    def age(tensors):
        for new, old in (
            ("LayerNorm.weight", "LayerNorm.gamma"),
            ("LayerNorm.bias", "LayerNorm.beta"),
        ):
            for name in [n for n in tensors if n.endswith(new)]:
                tensors[name.replace(new, old)] = tensors.pop(name)

    rewrite(path, age)
    assert load_checkpoint(path, "cpu").fingerprint == before


def sharded(path):
    """Splits the weights into two shards with an index."""
    tensors = load_file(f"{path}/model.safetensors")
    (file := Path(path, "model.safetensors")).unlink()
    names, index = sorted(tensors), {}
    for i, part in enumerate((names[::2], names[1::2])):
        shard = f"model-{i + 1:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, file.with_name(shard))
        index |= dict.fromkeys(part, shard)
    file.with_name("model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return file.with_name(shard)


def test_shards_load_and_a_broken_one_is_named(tmp_path):
    path, _ = llada(tmp_path / "a", 2, 1)
    before = load_checkpoint(path, "cpu").fingerprint
    shard = sharded(path)
    assert load_checkpoint(path, "cpu").fingerprint == before
    content = shard.read_bytes()
    shard.write_bytes(content[:-10])
    assert f"{shard.name} is truncated: it has" in refusal(path)
    shard.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert f"{shard.name} is a Git LFS pointer" in refusal(path)
    shard.unlink()
    assert f"lacks {shard.name} (1 of 2 shards" in refusal(path)
    shard.with_name("model.safetensors.index.json").write_text("{")
    assert "index.json is damaged" in refusal(path)


def test_a_tokenizer_of_another_model(tmp_path):
    path, _ = llada(tmp_path / "a", 2, 1)
    word_tokenizer(words=[f"v{i}" for i in range(99)]).save_pretrained(path)
    assert "its tokenizer has 101 tokens and the model 48" in refusal(path, together=True)
    word_tokenizer(bert=True).save_pretrained(path)
    assert "the mask token 1 and its tokenizer 4" in refusal(path, together=True)


KINDS = {
    "duo": "uniform state",
    "Fast_dLLM_Qwen": "semi-autoregressive",
    "diffusion_gemma": "semi-autoregressive",
    "sdar": "semi-autoregressive",
    "llama": "autoregressive and reads from left to right",
    "t5": "Known are",
    "nobody_knows": "Known are Dream",
}


@pytest.mark.parametrize("kind, message", KINDS.items(), ids=KINDS)
def test_models_that_are_no_masked_diffusion_are_refused_with_the_reason(tmp_path, kind, message):
    path = write(tmp_path / "a", {"model_type": kind}, {"x": torch.ones(1)}, word_tokenizer())
    assert message in refusal(path)


def bd3lm(folder, model, block_size):
    config = {**model.config.to_dict(), "model_type": "bd3lm", "block_size": block_size}
    config.pop("mask_token_id")
    tensors = dict(model.state_dict()) | {"sampling_eps_min": torch.ones(1)}
    return write(folder, config, tensors, word_tokenizer())


def test_a_bd3lm_of_one_block_is_an_mdlm_and_of_several_is_refused(tmp_path, random_model):
    model = random_model(1, noise="loglinear")
    whole = load_checkpoint(bd3lm(tmp_path / "a", model, 32), "cpu")
    z = torch.randint(0, 24, (2, 9))
    assert torch.allclose(whole(z).logits, model(z).logits, atol=1e-5)
    assert "block after block (4 of 32 tokens)" in refusal(bd3lm(tmp_path / "b", model, 4))


def test_too_little_memory_is_said_before_anything_is_loaded(tmp_path, monkeypatch):
    path, _ = llada(tmp_path / "a", 2, 1)
    needed = open_checkpoint(path).bytes(torch.float32, torch.device("cpu"))
    monkeypatch.setattr(placement, "free_bytes", lambda device: needed - 1)
    monkeypatch.setattr("stepimp.models.checkpoints.fill", lambda *_: pytest.fail("loaded"))
    message = refusal(path, together=True)
    assert "0.0 GB are missing. bfloat16 takes half" in message


def test_the_memory_of_this_machine_is_known():
    free = placement.free_bytes(torch.device("cpu"))
    assert free is None or free > 1e6


def test_a_head_that_does_more_than_one_projection_is_refused(tmp_path):

    config = transformers.EsmConfig(
        vocab_size=45,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=24,
        pad_token_id=0,
        mask_token_id=4,
    )
    model = transformers.EsmForMaskedLM(config)
    written = {key: value for key, value in config.to_dict().items() if value is not None}
    path = write(tmp_path / "a", written, stored(model), word_tokenizer(bert=True))
    assert "its head does more than one projection" in refusal(path)
