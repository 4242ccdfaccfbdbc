import json

import pytest
from click.testing import CliRunner

from stepimp.commands import main
from stepimp.documents import read_document
from stepimp.sampling import sampler

MODELS = ["--heavy", "2b", "--light", "1b"]


@pytest.fixture
def generate(tiny_family, tmp_path):
    """Runs the command in a results folder of its own."""

    def run(*arguments, code=0):
        where = ["--family", str(tiny_family), "--out", str(tmp_path), "--dtype", "float64"]
        result = CliRunner().invoke(main, ["generate", *where, *map(str, arguments)])
        assert result.exit_code == code, result.output
        return result

    return run


def samples(folder):
    (file,) = folder.glob("generate-*.jsonl")
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_samples_are_json_lines_beside_their_document(generate, tmp_path):
    generate("--schedule", "L5,H10,L5", *MODELS, "--samples", 3, "--length", 8)
    texts = samples(tmp_path)
    assert [sample["index"] for sample in texts] == [0, 1, 2]
    assert all(len(sample["tokens"]) == 8 and isinstance(sample["text"], str) for sample in texts)
    document = read_document(next(tmp_path.glob("generate-*.json")))
    assert document["params"]["schedule"] == "L5,H10,L5"
    assert document["cost"]["tokens"] == 24
    assert not list(tmp_path.glob("*.journal"))


def test_a_killed_run_goes_on_and_ends_the_same(generate, tmp_path, monkeypatch):
    arguments = ["--schedule", "H20", *MODELS, "--samples", 6, "--length", 8, "--batch-size", 1]
    generate(*arguments)
    whole = samples(tmp_path)
    for file in tmp_path.iterdir():
        file.unlink()
    runs = sampler.EventRunner.run
    calls = []

    def killed(self, *batch):
        calls.append(batch)
        if len(calls) == 25:
            raise KeyboardInterrupt
        return runs(self, *batch)

    monkeypatch.setattr(sampler.EventRunner, "run", killed)
    assert "run the same command again" in generate(*arguments, code=130).output
    (journal,) = tmp_path.glob("generate-*.journal")
    done = len(journal.read_text().splitlines()) - 1
    assert 0 < done < 6
    calls.clear()
    monkeypatch.setattr(
        sampler.EventRunner, "run", lambda self, *batch: calls.append(batch) or runs(self, *batch)
    )
    generate(*arguments)
    assert samples(tmp_path) == whole
    assert len(calls) < 8 * (6 - done)  # finished samples were not drawn again


def test_json_is_all_that_stdout_holds(generate):
    result = generate("--schedule", "H4", *MODELS, "--samples", 1, "--length", 8, "--json")
    assert json.loads(result.stdout)["command"] == "generate"


def test_a_prefix_opens_every_text(generate, tmp_path):
    generate("--schedule", "H4", *MODELS, "--samples", 2, "--length", 12, "--prefix", "the model")
    assert all(sample["text"].startswith("the model") for sample in samples(tmp_path))


def test_watching_changes_nothing(generate, tmp_path):
    generate("--schedule", "L10,H20", *MODELS, "--samples", 2, "--length", 8)
    plain = samples(tmp_path)
    generate("--schedule", "L10,H20", *MODELS, "--samples", 2, "--length", 8, "--watch")
    assert samples(tmp_path) == plain


def test_the_published_precision_is_another_run(generate, tmp_path):
    generate("--schedule", "H4", *MODELS, "--samples", 2, "--length", 8, "--precision", "mdlm")
    document = read_document(next(tmp_path.glob("generate-*.json")))
    assert document["params"]["precision"] == "mdlm"
    assert document["cost"]["tokens"] == 16


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--schedule", "H4,X2"], "cannot read 'X2'"),
        (["--schedule", "H4,L2", "--steps", 7], "sums to 6 steps, not to T = 7"),
        (["--schedule", "3b:4"], "Unknown model '3b'"),
        (["--schedule", "H4", "--length", 999], "outside 1..32"),
        (
            ["--schedule", "H4", "--length", 4, "--prefix", "the model the model the model"],
            "whole length of 4",
        ),
    ],
)
def test_bad_input_is_one_message(generate, arguments, message):
    result = generate(*arguments, *MODELS, code=1)
    assert message in result.output and "Traceback" not in result.output


def test_without_a_schedule_the_newest_recommendation_is_used(
    generate, tiny_family, tiny_text, tmp_path
):
    where = ["--family", str(tiny_family), "--out", str(tmp_path)]
    small = [
        "--data",
        str(tiny_text),
        "--sequences",
        "4",
        "--points",
        "4",
        "--heavy",
        "2b",
        "--light",
        "1b",
    ]
    for command in (["kl", *small, *where], ["recommend", "--steps", "12", *where]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
    generate("--samples", 1, "--length", 8)
    schedule = read_document(next(tmp_path.glob("recommend-*.json")))["rows"][0]["schedule"]
    assert read_document(next(tmp_path.glob("generate-*.json")))["params"]["schedule"] == schedule
