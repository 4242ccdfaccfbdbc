"""Files that cannot be read or written, and disks that fill up: one message, and nothing lost."""

import json
import subprocess
import sys

import pytest
from outcomes import NEEDS

from stepimp.commands import main
from stepimp.documents import read_document

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
    folder = [tmp_path / "family", "--yes"] if command == "train" else []
    assert message in run(command, *folder, "--data", tmp_path / name).message
    assert written() == []


@pytest.mark.parametrize("command", ["loss", "train"])
def test_a_hub_dataset_that_cannot_be_reached(run, tmp_path, command):
    folder = [tmp_path / "family", "--yes"] if command == "train" else []
    assert "file works offline" in run(command, *folder, "--data", "some/where").message


WITH_OUT = [
    name
    for name, command in sorted(main.commands.items())
    if "out" in {option.name for option in command.params}
]


@pytest.mark.parametrize("command", WITH_OUT)
def test_an_output_folder_that_cannot_be_written_is_found_before_the_work(
    run, tmp_path, monkeypatch, command
):
    (tmp_path / "file").write_text("")
    if command == "figures":  # which need results to be drawn from
        assert run("loss").code == 0
    for place in (
        "stepimp.models.checkpoints.fill",
        "transformers.AutoModelForCausalLM.from_pretrained",
    ):
        monkeypatch.setattr(place, lambda *_, **__: pytest.fail("models were loaded"))
    message = run(command, *NEEDS.get(command, []), "--out", tmp_path / "file" / "below").message
    assert f"Cannot write to {tmp_path / 'file' / 'below'}" in message


def test_the_home_of_nobody(run):
    message = run("kl", "--data", "~nobody-of-this-name/text.txt").message
    assert "Could not determine home directory. Write a path out instead of its ~." in message


def test_a_training_folder_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("")
    assert "Cannot write to" in run("train", tmp_path / "file" / "below", "--yes").message


def test_a_judge_for_a_folder_that_is_not_there_is_not_trained(run, tmp_path):
    message = run("judge", tmp_path / "nowhere").message
    assert "There is no folder" in message and f"stepimp train {tmp_path / 'nowhere'}" in message
    assert not (tmp_path / "nowhere").exists()


def test_a_disk_that_fills_up_while_samples_are_compared_keeps_them(run, tmp_path, full_disk):
    options = [*NEEDS["compare"], "--schedule", "L4", "--samples", 12, "--batch-size", 1]
    with full_disk(2000):
        message = run("compare", *options).message
    assert "Cannot write" in message and "Free space" in message
    kept = {file: file.read_text() for file in (tmp_path / "results").iterdir()}
    assert len(kept) == 2 and all(text.count("\n") > 1 for text in kept.values())
    assert run("compare", *options).code == 0
    assert all(file.read_text().startswith(text.rpartition("\n")[0]) for file, text in kept.items())


def test_a_figure_on_a_full_disk_is_named(run, tmp_path, full_disk):
    assert run("loss").code == 0
    with full_disk(1000):
        message = run("figures", "--out", tmp_path / "figures").message
    assert f"Cannot write {tmp_path / 'figures' / 'figure4.png'} (File too large)" in message
    assert list((tmp_path / "figures").iterdir()) == []


def test_prepared_tokens_on_a_full_disk_are_named(run, tmp_path, tiny_text, full_disk):
    file = tmp_path / "tokens.safetensors"
    options = [tmp_path / "family", "--data", tiny_text, "--length", 16, "--prepare", file]
    assert run("train", *options).code == 0  # the text is in the cache now
    file.unlink()
    with full_disk(1000):
        assert f"Cannot write {file} (File too large)" in run("train", *options).message
    assert not list(tmp_path.glob("tokens*"))


def test_prepared_tokens_that_cannot_be_written_are_found_before_the_work(
    run, tmp_path, tiny_text, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(
        "stepimp.training.family_text.train_tokenizer", lambda *_: pytest.fail("it was read")
    )
    file = tmp_path / "file" / "tokens.safetensors"
    message = run("train", "folder", "--data", tiny_text, "--prepare", file).message
    assert f"Cannot write to {file.parent} (File exists). Choose" in message


def test_a_lock_on_a_full_disk_is_named(run, tmp_path, tiny_text, full_disk):
    with full_disk(0):
        message = run("train", tmp_path / "family", "--data", tiny_text, "--yes").message
    assert f"Cannot write {tmp_path / 'family' / '.train.lock'} (File too large)" in message
    assert list((tmp_path / "family").iterdir()) == []


@pytest.mark.parametrize("options", [["kl", "--help"], ["models", "--json"]])
def test_an_output_on_a_full_disk_is_named(options):
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "stepimp", *options], stdout=full, stderr=subprocess.PIPE
        )
    assert ended.returncode == 1
    assert ended.stderr.decode().count("No space left on device: the standard output. Free") == 1


@pytest.mark.parametrize("content", ["", "[]\n", '{"run": "00000000"}\n'])
def test_kept_samples_that_are_damaged(run, tmp_path, content):
    options = [*NEEDS["compare"], "--schedule", "L4"]
    assert run("compare", *options).code == 0
    for file in (tmp_path / "results").glob("samples-*.jsonl"):
        file.write_text(content)
    if content:
        message = run("compare", *options).message
        assert "damaged or of another run" in message and "move it away" in message
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


def test_a_results_file_that_is_truncated_or_foreign(run, tmp_path, monkeypatch):
    assert run("kl").code == 0
    (file,) = (tmp_path / "results").glob("curves-*.json")
    older, content = read_document(file), file.read_text()
    for damaged, message in (
        (content[:99], "truncated"),
        ('{"schema": 1}', "not a stepimp results file"),
        (content.replace('"t": 1.0', '"t": "1"'), "t is '1', not a finite number"),
    ):
        file.write_text(damaged)
        assert message in run("recommend", "--curves", file).message
    monkeypatch.setattr("stepimp.commands._curves.measure_first", lambda *_: older)
    outcome = run("recommend", "--steps", 4)
    assert outcome.code == 0 and f"Skipped: {file} is damaged" in outcome.stderr


def test_a_results_file_of_another_command_is_no_curves(run, tmp_path):
    assert run("generate", "--schedule", "H3", "--samples", 1).code == 0
    (file,) = (tmp_path / "results").glob("generate-*.json")
    assert "no curves" in run("recommend", "--curves", file).message


def test_a_journal_of_another_run(run, tmp_path):
    assert run("loss").code == 0
    (file,) = (tmp_path / "results").glob("curves-*.json")
    file.unlink()  # or it would be used again
    file.with_suffix(".journal").write_text('{"run": "00000000"}\n')
    message = run("loss").message
    assert "damaged or of another run" in message and "move it away" in message
