"""Every bad choice of a user ends in one message that says what to do next: no traceback, nothing
half-written. `test_bad_files.py` has what is wrong with files and disks.
"""

import json
import re
import shutil

import click
import pytest
import torch
from click.testing import CliRunner
from outcomes import NEEDS
from safetensors.torch import load_file, save_file

from stepimp.commands import main


def change_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("command", ["loss", "kl", "profile", "generate", "compare", "search"])
@pytest.mark.parametrize("option", ["--heavy", "--light"])
def test_an_unknown_model_lists_the_known_ones(run, written, command, option):
    schedule = ["--schedule", "L2,H3"] if command == "generate" else []
    message = run(command, *schedule, option, "9b").message
    assert message.startswith("Unknown model '9b'") and "2b, 1b, 2b_seed2" in message
    assert written() == []


def test_a_folder_that_is_no_checkpoint(run, tmp_path):
    assert "no config.json" in run("loss", "--heavy", tmp_path).message


SPOILS = {
    "a missing tensor": (
        lambda t: t.pop("backbone.blocks.1.norm1.weight"),
        "missing backbone.blocks.1.norm1.weight",
    ),
    "an extra tensor": (lambda t: t.update(more=torch.ones(1)), "extra more"),
    "a mis-shaped tensor": (
        lambda t: t.update({"backbone.blocks.0.norm1.weight": torch.ones(5)}),
        "has shape (5,)",
    ),
    "NaN weights": (
        lambda t: t["backbone.blocks.0.norm1.weight"].fill_(torch.nan),
        "norm1.weight holds NaN or Inf",
    ),
}


@pytest.mark.parametrize("change, message", SPOILS.values(), ids=SPOILS)
def test_a_checkpoint_with(run, copied, change, message):
    change_weights(copied, change)
    assert message in run("loss", "--heavy", copied).message


def test_models_of_different_families(run, random_model, tmp_path, tiny_family):
    random_model(vocab_size=281, mask_token_id=279).save_pretrained(tmp_path / "other")
    shutil.copy(tiny_family / "tokenizer.json", tmp_path / "other")
    message = run("loss", "--light", tmp_path / "other").message
    assert "not of one family: the vocabulary size" in message


def test_a_heavy_model_shallower_than_the_light_one_is_a_warning(run):
    outcome = run("loss", "--heavy", "1b", "--light", "2b")
    assert outcome.code == 0 and "Warning: 2b is deeper than the heavy model 1b" in outcome.stderr


def test_a_baseline_that_is_the_heavy_model_itself(run, copied):
    assert "holds the same weights as 2b" in run("kl", "--baseline", copied).message
    assert "already heavy or light" in run("kl", "--baseline", "2b").message
    assert "2b is the heavy model: choose another" in run("kl", "--light", "2b").message


@pytest.mark.parametrize("command, option", [("plan", "--forwards"), ("kl", "--until")])
def test_an_infinite_number(run, command, option):
    assert "'inf' is not a finite number" in run(command, option, "inf").message


@pytest.mark.parametrize("budget", ["-0.1", "1.5", "nan", "much"])
def test_a_budget_outside_zero_to_one(run, budget):
    assert "--budget" in run("recommend", "--budget", budget).message


SCHEDULES = {
    "that does not parse": ("H5,X", [], "cannot read 'X'"),
    "that does not sum to T": ("L2,H3", ["--steps", 6], "sums to 5 steps, not to T = 6"),
    "with an unknown model": ("9b:2,H3", [], "Unknown model '9b'"),
    "with an empty segment": ("L0,H3", [], "segment 'L0' has no steps"),
}


@pytest.mark.parametrize("schedule, options, message", SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule(run, written, schedule, options, message):
    assert message in run("generate", "--schedule", schedule, *options).message
    assert written() == []


@pytest.mark.parametrize(
    "command, option",
    [
        ("recommend", "--steps"),
        ("generate", "--steps"),
        ("profile", "--steps"),
        ("loss", "--length"),
        ("generate", "--length"),
        ("generate", "--samples"),
        ("compare", "--steps"),
        ("compare", "--length"),
        ("search", "--samples"),
        ("search", "--light-segments"),
    ],
)
def test_counts_below_one(run, command, option):
    message = run(command, *NEEDS[command], option, 0).message
    assert option in message and ("x>=" in message or "<=x<=" in message)


@pytest.mark.parametrize("command", ["loss", "kl", "generate", "profile", "compare"])
def test_a_length_over_the_models_maximum(run, written, command):
    message = run(command, *NEEDS[command], "--length", 33).message
    assert "33" in message and "32" in message and "maximum" in message
    assert written() == []


def test_a_prefix_as_long_as_the_text(run, written):
    message = run(
        "generate", "--schedule", "H5", "--length", 4, "--prefix", "the model reads a token"
    ).message
    assert "given text" in message and "the whole length of 4" in message
    assert written() == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
@pytest.mark.parametrize("command", ["loss", "kl", "profile", "generate", "compare", "search"])
def test_cuda_where_there_is_none(run, command):
    message = run(command, *NEEDS[command], "--device", "cuda").message
    assert message == "Device 'cuda': this machine's torch sees no CUDA device. Use the device cpu."


@pytest.mark.parametrize("device", ["mps", "meta", "xla", "gpu", "cuda:x", ""])
def test_a_device_that_is_not_supported(run, written, device):
    message = run("loss", "--device", device).message
    assert f"Unknown device {device!r}: use auto, cpu, cuda or cuda:N." in message
    assert written() == []


def test_a_prefix_with_half_a_character(run):
    prefix = "é".encode()[:1].decode(errors="surrogateescape")  # as Python passes it on
    message = run("generate", "--schedule", "H5", "--prefix", prefix).message
    assert r"The given text '\udcc3' is not UTF-8 text" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_flash_attention_where_it_cannot_run(run):
    assert (
        "flash_attention_2 needs a CUDA device"
        in run("loss", "--attn", "flash_attention_2").message
    )


@pytest.mark.parametrize("command", sorted(main.commands))
def test_an_option_nobody_knows(command):
    result = CliRunner().invoke(main, [command, "--frobnicate"])
    assert result.exit_code == 2 and "--frobnicate" in result.stderr


@pytest.mark.parametrize("command", ["loss", "kl", "recommend", "generate", "compare", "search"])
def test_a_family_that_is_not_there(run, tmp_path, command):
    message = run(command, *NEEDS[command], "--family", tmp_path / "nowhere").message
    assert re.search("there is no family in .*nowhere|nowhere holds no family", message)


EARLY = [
    "--points",
    20,
    "--sequences",
    2,
    "--length",
    1,
    "--seed",
    1,
]  # at t = 0.05 nothing is masked


def test_curves_at_times_so_early_that_nothing_is_masked(run):
    outcome = run("kl", *EARLY)
    assert outcome.code == 0 and "nan" not in outcome.stdout.lower()


def test_json_output_is_json_even_of_what_could_not_be_measured(run):
    outcome = run("kl", *EARLY, "--json")
    document = json.loads(
        outcome.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")
    )
    assert document["rows"][0]["kl_nats"] is None


def test_every_choice_and_range_is_checked_before_anything_loads():
    for name, command in main.commands.items():
        for option in command.params:
            if isinstance(option.type, click.IntRange) and option.type.min:
                result = CliRunner().invoke(main, [name, option.opts[0], str(option.type.min - 1)])
                assert result.exit_code == 2, (name, option.opts)
