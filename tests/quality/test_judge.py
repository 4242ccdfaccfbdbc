"""A judge is loaded strictly, and trained by one command that can be killed and repeated."""

import json
import shutil

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from stepimp.commands import main
from stepimp.errors import StepimpError
from stepimp.models.family import family_folder
from stepimp.quality.judge import judge_of, load_judge
from stepimp.quality.scoring import score
from stepimp.text.blocks import load_blocks
from stepimp.training import judge
from stepimp.training.judge import held_out_nats, read_recipe

TINY = [
    "--layers",
    1,
    "--width",
    16,
    "--heads",
    2,
    "--context",
    16,
    "--vocab-size",
    270,
    "--steps",
    6,
    "--batch-size",
    4,
    "--save-every",
    2,
    "--warmup",
    2,
]


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


# ---- training ----


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
