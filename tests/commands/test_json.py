"""`--json` on every command: what it did, as JSON on stdout and nothing else there."""

import json

import click
import pytest
from documents import call
from examples import COMMANDS

LEAVES = [path for path, command in COMMANDS.items() if not isinstance(command, click.Group)]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_it(path):
    options = {name for option in COMMANDS[path].params for name in option.opts}
    assert "--json" in options, "add output_options or json_option of commands/_options.py"


def test_convert_says_what_it_wrote(tiny_family, tmp_path):
    result = call("convert", tiny_family / "1b", tmp_path / "1b", "--json")
    written = json.loads(result.stdout)
    listed = json.loads(call("models", "--family", tiny_family, "--json").stdout)
    assert written == {"fingerprint": listed[0]["fingerprint"], "folder": str(tmp_path / "1b")}


def test_train_says_what_it_trained_and_prepared(tmp_path, tiny_text):
    text = ["--data", tiny_text, "--length", 16, "--vocab-size", 262, "--json"]
    sizes = ["--depths", 1, "--steps", 2, "--width", 8, "--batch-size", 2]
    result = call("train", tmp_path / "f", *text, *sizes)
    (member,) = json.loads(result.stdout)["trained"]
    assert member["name"] == "1b" and member["heldout_nelbo_nats"] > 0
    assert "1b: held-out NELBO" in result.stderr
    again = json.loads(call("train", tmp_path / "f", *text, *sizes).stdout)
    assert again == {"folder": str(tmp_path / "f"), "trained": []}
    file = tmp_path / "tokens.safetensors"
    counts = json.loads(call("train", tmp_path / "g", *text, "--prepare", file).stdout)
    assert counts["file"] == str(file) and counts["train"] > counts["heldout"] > 0
