"""A judge is loaded strictly."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from stepimp.errors import StepimpError
from stepimp.models.family import family_folder
from stepimp.quality.judge import judge_of, load_judge
from stepimp.quality.scoring import score
from stepimp.training.judge import read_recipe


@pytest.fixture
def copied(tiny_family, tmp_path):
    """A copy of the tiny judge to spoil."""
    return shutil.copytree(tiny_family / "judge", tmp_path / "judge")


def change_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_of_special_tokens_the_end_of_text_alone_may_be_in_a_text(tiny_judge):
    end, mask = tiny_judge.tokenizer.eos_token, tiny_judge.tokenizer.mask_token
    first, second, marked = tiny_judge.encode([f"a{end}b", "", f"a{mask}b"])
    assert first == [*tiny_judge.encode(["a"])[0], 0, *tiny_judge.encode(["b"])[0]]
    assert second == [] and tiny_judge.tokenizer.mask_token_id not in marked
    assert tiny_judge.tokenizer.decode(marked) == f"a{mask}b"
    assert tiny_judge.encode([end + end]) == [[0, 0]] and tiny_judge.encode([]) == []


def test_the_fingerprint_is_of_weights_and_tokenizer(tiny_judge, copied):
    assert load_judge(str(copied), "cpu").fingerprint == tiny_judge.fingerprint
    tensors = load_file(copied / "model.safetensors")
    save_file(
        {name: tensor + 0.01 for name, tensor in tensors.items()},
        copied / "model.safetensors",
        {"format": "pt"},
    )
    heavier = load_judge(str(copied), "cpu").fingerprint
    tokenizer = json.loads((copied / "tokenizer.json").read_text())
    tokenizer["model"]["merges"].pop()
    (copied / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert len({tiny_judge.fingerprint, heavier, load_judge(str(copied), "cpu").fingerprint}) == 3


def no_config(folder):
    (folder / "config.json").unlink()


def fewer_layers(folder):
    change_config(folder, n_layer=1)


def more_layers_than_tensors(folder):
    change_config(folder, n_layer=10**9)


def layers_in_words(folder):
    change_config(folder, n_layer="2")


def a_flag_in_words(folder):
    change_config(folder, tie_word_embeddings="no")


def an_infinite_epsilon(folder):
    change_config(folder, layer_norm_epsilon=float("inf"))


def architectures_that_are_a_number(folder):
    change_config(folder, architectures=5)


def a_pointer(folder):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (folder / "model.safetensors").write_bytes(pointer)


def other_kind(folder):
    change_config(folder, architectures=["BertForMaskedLM"])


def other_shape(folder):
    change_config(folder, n_embd=8)


def missing_layer(folder):
    change_config(folder, n_layer=3)


def no_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()


def broken(folder):
    (folder / "model.safetensors").write_bytes(b"nothing")


def only_a_pickle(folder):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def infinite(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.wpe.weight"][0, 0] = torch.inf
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


SPOILS = {
    no_config: "is not a judge: it has no config.json",
    other_kind: "is not a causal language model but BertForMaskedLM",
    other_shape: "does not fit its config.json",
    missing_layer: "does not fit its config.json: transformer.h.2",
    no_tokenizer: "its tokenizer, of . tokens",
    broken: "as a judge",
    only_a_pickle: "as a judge",
    infinite: "hold NaN or Inf",
    fewer_layers: "does not fit its config.json: transformer.h.1",
    more_layers_than_tensors: "1000000000 layers, in .* tensors",
    layers_in_words: "as a judge",
    an_infinite_epsilon: "layer_norm_epsilon is inf",
    a_flag_in_words: "tie_word_embeddings",
    architectures_that_are_a_number: "as a judge",
    a_pointer: "is a Git LFS pointer",
}


@pytest.mark.parametrize(
    "spoil, message", SPOILS.items(), ids=lambda case: getattr(case, "__name__", "")
)
def test_what_cannot_judge_is_one_message(copied, spoil, message):
    spoil(copied)
    with pytest.raises(StepimpError, match=message) as error:
        load_judge(str(copied), "cpu")
    assert "\n" not in str(error.value)


def test_a_message_keeps_its_cause_and_a_bug_is_not_hidden(copied, monkeypatch):
    broken(copied)
    with pytest.raises(StepimpError) as error:
        load_judge(str(copied), "cpu")
    assert isinstance(error.value.__cause__, StepimpError)

    def bug(*_, **__):
        raise AttributeError("ours")

    monkeypatch.setattr(AutoConfig, "from_pretrained", bug)
    with pytest.raises(AttributeError, match="ours"):
        load_judge(str(copied), "cpu")


def test_a_denoiser_is_not_a_judge(tiny_family):
    with pytest.raises(StepimpError, match="as a judge|not a causal language model"):
        load_judge(str(tiny_family / "2b"), "cpu")


def test_code_that_comes_with_a_judge_is_not_run(copied, tmp_path):
    (copied / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    change_config(
        copied,
        model_type="evil",
        auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"},
    )
    with pytest.raises(StepimpError, match="as a judge"):
        load_judge(str(copied), "cpu")
    assert not (tmp_path / "ran").exists()


def test_a_hub_judge_that_cannot_be_had_says_what_works_offline():
    with pytest.raises(
        StepimpError, match="Cannot load gpt2-none as a judge: .* stepimp judge FOLDER trains one"
    ) as error:
        load_judge("gpt2-none", "cpu")
    assert "\n" not in str(error.value)


# ---- the bundled judge ----


def test_the_bundled_judge_knows_english_documentation():
    folder = family_folder()
    judge = load_judge(judge_of(folder), "cpu")
    sense = "Return the value of the attribute, or None if there is no such attribute."
    shuffled = " ".join(sorted(sense.split()))
    log_ppl = score(judge, [sense, shuffled]).log_ppl
    assert (
        log_ppl[0] < log_ppl[1] < 7
        and log_ppl[0] < read_recipe(folder / "judge")["heldout_nats_per_token"] + 0.5
    )
    assert sum(file.stat().st_size for file in (folder / "judge").iterdir()) < 3e6
