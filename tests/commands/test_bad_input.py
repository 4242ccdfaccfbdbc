"""Every bad input of a user ends in one message that says what to do next: no traceback, nothing
half-written.
"""

import json
import shutil
from itertools import chain

import click
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from stepimp.commands import main

NEEDS = {"loss": [], "kl": [], "profile": [], "recommend": [], "generate": ["--schedule", "H5"]}
NEEDS["compare"] = ["--steps", 4, "--samples", 2, "--length", 8]
MODELS = {
    "loss": ["--heavy", "2b", "--light", "1b"],
    "recommend": ["--heavy", "2b", "--light", "1b"],
}
MODELS |= {
    "kl": [*MODELS["loss"], "--baseline", "2b_seed2"],
    "profile": MODELS["loss"],
    "generate": MODELS["loss"],
}
MODELS["compare"] = MODELS["loss"]
NEEDS["search"], MODELS["search"] = [], MODELS["loss"]
FAST = ["--sequences", "4", "--points", "2", "--length", "8"]


class Outcome:
    """How a command ended. Anything but an orderly exit fails the test with the exception
    itself.
    """

    def __init__(self, result):
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.code, self.stdout, self.stderr = result.exit_code, result.stdout, result.stderr

    @property
    def message(self):
        """The error in one line, without the usage click puts before it."""
        assert self.code in (1, 2) and not self.stdout, (self.code, self.stdout)
        assert self.stderr.count("Error: ") == 1 and "Traceback" not in self.stderr
        return " ".join(self.stderr.partition("Error: ")[2].split())


@pytest.fixture
def run(tiny_family, tiny_text, tmp_path, monkeypatch):
    """A function (command, *options) -> Outcome, on the tiny family and text, with results in the
    test's own folder.
    """
    monkeypatch.setenv("STEPIMP_FAMILY", str(tiny_family))
    monkeypatch.setenv("STEPIMP_RESULTS", str(tmp_path / "results"))

    def run(command, *options):
        given = MODELS.get(command, [])
        pairs = [pair for pair in zip(given[::2], given[1::2]) if pair[0] not in options]
        arguments = [command, *chain(*pairs)]
        if command in ("loss", "kl"):
            arguments += ["--data", tiny_text, *FAST]
        return Outcome(CliRunner().invoke(main, [str(one) for one in (*arguments, *options)]))

    return run


@pytest.fixture
def written(tmp_path):
    """A function -> the names of all results files."""
    return lambda: sorted(file.name for file in (tmp_path / "results").glob("*"))


@pytest.fixture
def copied(tiny_family, tmp_path):
    """A copy of 2b to spoil."""
    return shutil.copytree(tiny_family / "2b", tmp_path / "copied")


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
    assert "not of one family: vocab_size" in run("loss", "--light", tmp_path / "other").message


def test_a_heavy_model_shallower_than_the_light_one_is_a_warning(run):
    outcome = run("loss", "--heavy", "1b", "--light", "2b")
    assert outcome.code == 0 and "Warning: 2b is deeper than the heavy model 1b" in outcome.stderr


def test_a_baseline_that_is_the_heavy_model_itself(run, copied):
    assert "holds the same weights as 2b" in run("kl", "--baseline", copied).message
    assert "already heavy or light" in run("kl", "--baseline", "2b").message
    assert "2b is the heavy model: choose another" in run("kl", "--light", "2b").message


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
    assert option in message and "x>=" in message


@pytest.mark.parametrize("command", ["loss", "kl", "generate", "profile", "compare"])
def test_a_length_over_the_models_maximum(run, written, command):
    message = run(command, *NEEDS[command], "--length", 33).message
    assert "33" in message and "32" in message and "maximum" in message
    assert written() == []


def test_a_prefix_as_long_as_the_text(run, written):
    message = run(
        "generate", "--schedule", "H5", "--length", 4, "--prefix", "the model reads a token"
    ).message
    assert "prefix" in message and "the whole length of 4" in message
    assert written() == []


DATA = {
    "an empty file": ("a.txt", b"", "is empty"),
    "a file that is too short": ("a.txt", b"the model", "has less text than one sequence"),
    "a file that is not UTF-8": ("a.txt", "é".encode("latin-1") * 99, "not UTF-8"),
    "a file without text": ("a.jsonl", b'{"body": "a"}\n', "no column 'text'"),
    "no file": ("a.txt", None, "No such file"),
}


@pytest.mark.parametrize("command", ["loss", "train"])
@pytest.mark.parametrize("name, content, message", DATA.values(), ids=DATA)
def test_data_that_is(run, written, tmp_path, command, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    folder = [tmp_path / "family"] if command == "train" else []
    assert message in run(command, *folder, "--data", tmp_path / name).message
    assert written() == []


@pytest.mark.parametrize("command", ["loss", "train"])
def test_a_hub_dataset_that_cannot_be_reached(run, tmp_path, command):
    folder = [tmp_path / "family"] if command == "train" else []
    assert "--data FILE" in run(command, *folder, "--data", "some/where").message


WITH_OUT = [
    name
    for name, command in sorted(main.commands.items())
    if "out" in {one.name for one in command.params}
]


@pytest.mark.parametrize("command", WITH_OUT)
def test_an_output_folder_that_cannot_be_written_is_found_before_the_work(
    run, tmp_path, monkeypatch, command
):
    (tmp_path / "file").write_text("")
    if command == "figures":  # which need results to be drawn from
        assert run("loss").code == 0
    for load in ("stepimp.models.checkpoints.load_checkpoint", "stepimp.quality.judge.load_judge"):
        monkeypatch.setattr(load, lambda *_, **__: pytest.fail("models were loaded"))
    message = run(command, *NEEDS.get(command, []), "--out", tmp_path / "file" / "below").message
    assert f"Cannot write to {tmp_path / 'file' / 'below'}" in message


@pytest.mark.parametrize("command", ["train", "judge"])
def test_a_training_folder_that_cannot_be_written(run, tmp_path, command):
    (tmp_path / "file").write_text("")
    assert "Cannot write to" in run(command, tmp_path / "file" / "below").message


def test_a_disk_that_fills_up_while_samples_are_compared_keeps_them(run, tmp_path, full_disk):
    options = [*NEEDS["compare"], "--schedule", "L4", "--samples", 12, "--batch-size", 1]
    with full_disk(2000):
        message = run("compare", *options).message
    assert "Cannot write" in message and "Free space" in message
    kept = {file: file.read_text() for file in (tmp_path / "results").iterdir()}
    assert len(kept) == 2 and all(text.count("\n") > 1 for text in kept.values())
    assert run("compare", *options).code == 0
    assert all(file.read_text().startswith(text.rpartition("\n")[0]) for file, text in kept.items())


@pytest.mark.parametrize("content", ["", "[]\n", '{"run": "00000000"}\n'])
def test_kept_samples_that_are_damaged(run, tmp_path, content):
    options = [*NEEDS["compare"], "--schedule", "L4"]
    assert run("compare", *options).code == 0
    for file in (tmp_path / "results").glob("samples-*.jsonl"):
        file.write_text(content)
    if content:
        assert "damaged or of another run: delete it" in run("compare", *options).message
    else:
        assert run("compare", *options).code == 0


@pytest.mark.parametrize("command", ["loss", "generate"])
def test_a_disk_that_fills_up_during_the_run_keeps_what_is_done(
    run, tmp_path, full_disk, monkeypatch, command
):
    options = [*NEEDS[command], "--batch-size", 1]
    rows = json.loads(run(command, *options, "--json").stdout)["rows"]
    monkeypatch.setenv("STEPIMP_RESULTS", str(tmp_path / "second"))
    with full_disk(600):
        message = run(command, *options).message
    assert "Cannot write" in message and "Free space" in message
    (journal,) = (tmp_path / "second").iterdir()
    assert journal.suffix == ".journal" and journal.read_text().count("\n") > 1
    again = json.loads(run(command, *options, "--json").stdout)["rows"]
    assert again == rows
    assert not list((tmp_path / "second").glob("*.journal"))


def test_a_results_file_that_is_truncated_or_foreign(run, tmp_path):
    assert run("kl").code == 0
    (file,) = (tmp_path / "results").glob("curves-*.json")
    content = file.read_text()
    for damaged, message in (
        (content[:99], "truncated"),
        ('{"schema": 1}', "not a stepimp results file"),
    ):
        file.write_text(damaged)
        assert message in run("recommend").message
        assert message in run("recommend", "--curves", file).message


def test_a_results_file_of_another_command_is_no_curves(run, tmp_path):
    assert run("generate", "--schedule", "H3", "--samples", 1).code == 0
    (file,) = (tmp_path / "results").glob("generate-*.json")
    assert "no curves" in run("recommend", "--curves", file).message


def test_a_journal_of_another_run(run, tmp_path):
    assert run("loss").code == 0
    (file,) = (tmp_path / "results").glob("curves-*.json")
    file.unlink()  # or it would be used again
    file.with_suffix(".journal").write_text('{"run": "00000000"}\n')
    assert "damaged or of another run: delete it" in run("loss").message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
@pytest.mark.parametrize("command", ["loss", "kl", "profile", "generate", "compare", "search"])
def test_cuda_where_there_is_none(run, command):
    message = run(command, *NEEDS[command], "--device", "cuda").message
    assert message == "Device 'cuda': this machine's torch sees no CUDA device. Use the device cpu."


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
    assert "there is no family in" in message and "nowhere" in message


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
        outcome.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON")
    )
    assert document["rows"][0]["kl_nats"] is None


def test_every_choice_and_range_is_checked_before_anything_loads():
    for name, command in main.commands.items():
        for option in command.params:
            if isinstance(option.type, click.IntRange) and option.type.min:
                result = CliRunner().invoke(main, [name, option.opts[0], str(option.type.min - 1)])
                assert result.exit_code == 2, (name, option.opts)
