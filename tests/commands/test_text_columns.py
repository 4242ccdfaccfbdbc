"""Text from columns, pipes and folders, on every command that reads text; what was read is said
once.
"""

import json
import os
from pathlib import Path
from threading import Thread

import pytest
from documents import call
from outcomes import JUDGE, NEEDS, TRAIN

from stepimp.models.family import read_manifest, text_column


def rows(path, tiny_text, column):
    """A JSON Lines file whose text is in a column, beside others."""
    lines = []
    for text in tiny_text.read_text("utf-8").split("\n\n"):
        row = text
        for name in reversed(column.split(".")):
            row = {name: row, "id": 1}
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("column", ["content", "data.text"])
@pytest.mark.parametrize("command", ["kl", "compare", "train", "judge"])
def test_every_command_that_reads_text_takes_a_column(run, tmp_path, tiny_text, command, column):
    data = ["--data", rows(tmp_path / "a.jsonl", tiny_text, column)]
    options = {
        "kl": [],
        "compare": [*NEEDS["compare"], "--prefix-length", 2],
        "train": [tmp_path / "family", *TRAIN],
        "judge": [tmp_path / "family", *JUDGE],
    }[command]
    (tmp_path / "family").mkdir()
    assert f"no column 'text': its columns are {column.split('.')[0]}, id" in (
        run(command, *options, *data).message
    )
    assert run(command, *options, *data, "--text-column", column).code == 0


def test_results_name_a_column_and_old_ones_keep_their_name(run, tmp_path, tiny_text):
    plain = [run("kl", "--json", *more).stdout for more in ([], ["--text-column", "text"])]
    params = [json.loads(stdout)["params"] for stdout in plain]
    assert params[0] == params[1] and "column" not in params[0]
    data = ["--data", rows(tmp_path / "a.jsonl", tiny_text, "content")]
    document = json.loads(run("kl", "--json", *data, "--text-column", "content").stdout)
    assert document["params"]["column"] == "content"


def test_a_family_remembers_the_column_of_its_text(run, tmp_path, tiny_text, monkeypatch):
    rows(tmp_path / "a.jsonl", tiny_text, "content")
    monkeypatch.chdir(tmp_path)
    column = ["--data", "a.jsonl", "--text-column", "content"]
    trained = run("train", "family", *TRAIN, *column, "--baseline-seed", 2)
    assert trained.code == 0
    assert text_column(tmp_path / "family") == "content"
    facts = read_manifest(tmp_path / "family")["members"]["1b"]
    assert facts["data"] == str(tmp_path / "a.jsonl"), "it holds from any directory"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    models = ["--heavy", "1b", "--light", "1b_seed2", "--family", tmp_path / "family"]
    out = ["--out", tmp_path / "results", "--points", 2, "--sequences", 2, "--json"]
    document = json.loads(call("kl", *models, *out).stdout)
    assert document["params"]["column"] == "content"
    given = call("kl", *models, *out, "--data", tmp_path / "a.jsonl", code=1)
    assert "no column 'text'" in given.stderr, "the column is of that text alone"


def test_what_was_read_and_skipped_is_said_once(run, tmp_path, tiny_text):
    (tmp_path / "texts").mkdir()
    rows(tmp_path / "texts" / "a.jsonl", tiny_text, "text")
    (tmp_path / "texts" / "b.pdf").write_bytes(b"")
    said = run("train", tmp_path / "family", *TRAIN, "--data", tmp_path / "texts").stderr
    assert said.count("skipped 1 file (1 .pdf)") == 1
    assert said.count("in 1 file.") == 1


@pytest.mark.parametrize("kind", ["text", "rows"])
def test_the_standard_input_is_data(run, tmp_path, tiny_text, kind, curve_options):
    file = rows(tmp_path / "a", tiny_text, "text") if kind == "rows" else tiny_text
    options = ["--data", "-", "--out", tmp_path / "results", "--json"]
    result = call("kl", *curve_options, *options, input=file.read_bytes())
    kept = json.loads(result.stdout)["params"]["data"]
    assert Path(kept).read_bytes() == file.read_bytes()
    assert kept.endswith({"rows": ".jsonl", "text": ".txt"}[kind])


def test_a_pipe_is_data(run, tmp_path, tiny_text, curve_options):
    os.mkfifo(tmp_path / "pipe")
    writer = Thread(target=lambda: (tmp_path / "pipe").write_bytes(tiny_text.read_bytes()))
    writer.start()
    options = ["--data", tmp_path / "pipe", "--out", tmp_path / "results", "--json"]
    document = json.loads(call("kl", *curve_options, *options).stdout)
    writer.join()
    assert Path(document["params"]["data"]).read_bytes() == tiny_text.read_bytes()
