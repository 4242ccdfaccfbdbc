import json
import math
import shutil
import sys
from dataclasses import replace

import pytest
import torch
from small_training import RECIPE, SHAPE, equal, train, weights
from transformers.utils import logging

from stepimp.errors import Contradiction, StepimpError
from stepimp.models.checkpoints import load_checkpoint
from stepimp.models.family import read_manifest
from stepimp.models.loading import load
from stepimp.text.blocks import load_blocks, train_tokenizer
from stepimp.training.family import train_family
from stepimp.training.family_text import prepare_text
from stepimp.training.objective import evaluate_nelbo


def test_a_trained_family_loads_and_says_how_good_it_is(uninterrupted, text):
    folder, nelbo = uninterrupted
    facts = read_manifest(folder)["members"]["1b"]
    assert facts["heldout_nelbo_nats"] == nelbo["1b"] and (facts["blocks"], facts["seed"]) == (1, 3)
    assert facts["recipe"] == RECIPE.as_dict() and len(facts["data_fingerprint"]) == 12
    family = load(["1b"], folder)
    assert len(family.tokenizer) == family.any.vocab_size == 262
    held_out = load_blocks(str(text), family.tokenizer, SHAPE["model_length"], "heldout")
    assert evaluate_nelbo(family.any, held_out.tokens) == pytest.approx(nelbo["1b"], rel=1e-5)
    files = {file.name for file in folder.iterdir()}
    assert files == {"1b", "family.json", "tokenizer.json", "tokenizer_config.json"}


def test_training_lowers_the_loss(tmp_path, text):
    long = replace(RECIPE, steps=60, save_every=60)
    assert dict(train(tmp_path, text, recipe=long))["1b"] < math.log(262) - 1


def test_every_depth_has_its_own_initialisation(tmp_path, text):
    train(tmp_path, text, depths=(1, 2), recipe=replace(RECIPE, steps=1))
    one, two = (weights(tmp_path, name)["backbone.vocab_embed.embedding"] for name in ("1b", "2b"))
    assert not torch.allclose(one, two, atol=0.1)


def test_finished_members_are_left_alone_and_others_added(tmp_path, text, uninterrupted):
    for file in uninterrupted[0].rglob("*"):
        if file.is_file():
            (tmp_path / file.relative_to(uninterrupted[0])).parent.mkdir(exist_ok=True)
            (tmp_path / file.relative_to(uninterrupted[0])).write_bytes(file.read_bytes())
    before = (tmp_path / "1b" / "model.safetensors").stat().st_mtime_ns
    short = replace(RECIPE, steps=1)
    added = train(tmp_path, text, depths=(2,), baseline_seed=5, recipe=short)
    assert [name for name, _ in added] == ["2b", "2b_seed5"]
    assert (tmp_path / "1b" / "model.safetensors").stat().st_mtime_ns == before
    assert load(["1b", "2b", "2b_seed5"], tmp_path).blocks == {"1b": 1, "2b": 2, "2b_seed5": 2}
    assert not equal(weights(tmp_path, "2b"), weights(tmp_path, "2b_seed5"))
    assert train(tmp_path, text, depths=(2,), baseline_seed=5, recipe=short) == []
    with pytest.raises(Contradiction, match="1b is finished, and was trained with steps 7, not 1:"):
        train(tmp_path, text, depths=(1, 2), baseline_seed=5, recipe=short)


def test_a_member_whose_folder_is_gone_is_trained_again(tmp_path, text, uninterrupted):
    folder, nelbos = uninterrupted
    shutil.copytree(folder, tmp_path / "family")
    shutil.rmtree(tmp_path / "family" / "1b")
    assert dict(train(tmp_path / "family", text)) == nelbos
    assert equal(weights(tmp_path / "family"), weights(folder))


def test_stored_weights_take_the_dtype_asked_for(tmp_path, text):
    train(tmp_path, text, recipe=replace(RECIPE, steps=1, weights="bfloat16"))
    assert {tensor.dtype for tensor in weights(tmp_path).values()} == {torch.bfloat16}
    load_checkpoint(str(tmp_path / "1b"), "cpu")


def test_a_family_that_learns_from_a_teacher_says_so(tmp_path, text, uninterrupted):
    teacher = str(uninterrupted[0] / "1b")
    train(tmp_path, text, teacher=teacher)
    assert read_manifest(tmp_path)["members"]["1b"]["teacher"] == teacher
    assert not equal(weights(tmp_path), weights(uninterrupted[0]))


def test_a_teacher_of_other_tokens_or_noise_or_of_shorter_texts(tmp_path, text, uninterrupted):
    teacher = str(uninterrupted[0] / "1b")
    with pytest.raises(StepimpError, match="a length up to that"):
        train(tmp_path / "longer", text, teacher=teacher, model_length=20)
    with pytest.raises(StepimpError, match="choose linear"):
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
            tmp_path / "f", [1], 3, None, SHAPE, replace(RECIPE, steps=1), str(text), **options
        )
    )
    model = load_checkpoint(str(tmp_path / "f" / "1b"), "cpu")
    assert (model.mask_id, model.vocab_size) == (262, 263)


def test_training_prints_nothing(tmp_path, text, capfd):
    logging.enable_progress_bar()
    train(tmp_path, text)
    assert capfd.readouterr() == ("", "")


def test_text_for_less_than_one_batch(tmp_path, text):
    with pytest.raises(StepimpError, match="less than one batch of 4000: choose a smaller"):
        train(tmp_path, text, recipe=replace(RECIPE, batch_size=4000))


def test_a_training_that_diverges_writes_no_member(tmp_path, text):
    with pytest.raises(StepimpError, match=r"1b diverged before step \d+: .*lower learning"):
        train(tmp_path, text, recipe=replace(RECIPE, muon_lr=1e30, adamw_lr=1e30))
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


def test_prepared_tokens_train_the_same_family_without_the_datasets_library(
    tmp_path, text, uninterrupted, monkeypatch
):
    file = tmp_path / "tokens.safetensors"
    assert prepare_text(file, str(text), SHAPE["model_length"], None, 262)["train"] > 4
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert dict(train(tmp_path / "family", file)) == uninterrupted[1]
    assert equal(weights(tmp_path / "family"), weights(uninterrupted[0]))
    assert read_manifest(tmp_path / "family")["members"]["1b"]["data"] == str(text)
    with pytest.raises(StepimpError, match="sequences of 16 tokens, not of 20"):
        train(tmp_path / "longer", file, model_length=20)
    file.write_bytes(b"cut off")
    with pytest.raises(StepimpError, match="not a file of prepared tokens"):
        train(tmp_path / "damaged", file)


def test_a_refused_training_leaves_no_tokenizer(tmp_path, text, uninterrupted):
    teacher = str(uninterrupted[0] / "1b")
    with pytest.raises(StepimpError, match="choose linear"):
        train(tmp_path, text, teacher=teacher, noise="loglinear")
    with pytest.raises(StepimpError, match="less than one batch"):
        train(tmp_path, text, recipe=replace(RECIPE, batch_size=4000))
    assert not list(tmp_path.iterdir())


def test_a_folder_with_another_tokenizer_than_the_one_asked_for(tmp_path, text, uninterrupted):
    with pytest.raises(StepimpError, match="a tokenizer of 262 tokens already"):
        list(train_family(uninterrupted[0], [1], 3, None, SHAPE, RECIPE, str(text), vocab_size=300))
