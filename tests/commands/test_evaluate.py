"""`stepimp evaluate` on what `stepimp generate` wrote and on files that people bring."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from stepimp.commands import main
from stepimp.documents import read_document
from stepimp.intervals import Estimate
from stepimp.quality.scoring import score, unigram_entropy

TEXTS = [
    "the model reads a token",
    "noise of the mask and",
    "heavy step light",
    "the the",
    "a curve",
]


@pytest.fixture
def call(tiny_family, tmp_path):
    """A function (command, *options) -> its result, on the tiny family, with results in the test's
    own folder.
    """

    def run(command, *options, code=0):
        where = ["--family", tiny_family, "--out", tmp_path]
        result = CliRunner().invoke(main, [str(part) for part in (command, *options, *where)])
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def texts_file(tmp_path):
    """A samples file without tokens or document."""
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return file


def evaluated(folder):
    (path,) = folder.glob("evaluate-*.json")
    return read_document(path)


def test_the_newest_generated_text_is_scored(call, tiny_judge, tmp_path):
    options = "--schedule L2,H3 --heavy 2b --light 1b --samples 3"
    call("generate", *options.split(), "--prefix", "the model")
    result = call("evaluate")
    (lines,) = tmp_path.glob("generate-*.jsonl")
    drawn = [json.loads(line) for line in lines.read_text("utf-8").splitlines()]
    rests = [sample["text"].removeprefix("the model") for sample in drawn]
    expected = score(tiny_judge, rests, ["the model"] * 3)
    written = evaluated(tmp_path)
    (row,) = written["rows"]
    assert (
        row["schedule"] == "L2,H3"
        and row["samples"] == 3
        and written["params"]["samples_file"] == lines.name
    )
    assert row["gen_ppl"] == pytest.approx(np.exp(expected.log_ppl).mean())
    assert row["entropy_nats"] == pytest.approx(
        unigram_entropy([sample["tokens"] for sample in drawn]).mean()
    )
    assert written["per_sample"]["log_ppl"] == pytest.approx(expected.log_ppl.tolist())
    assert (
        f"3 samples with L2,H3, judge {tiny_judge.name}: gen-PPL "
        f"{Estimate.of(row, 'gen_ppl').text(2)}, corpus PPL" in result.stdout
    )
    assert (
        "corpus PPL" in result.stdout
        and "entropy" in result.stdout
        and written["path"] in result.stdout
    )
    assert len(result.stdout.splitlines()) == 1 and not list(tmp_path.glob("*.journal"))


def test_a_file_of_ones_own(call, texts_file, tmp_path):
    assert json.loads(call("evaluate", texts_file, "--json").stdout)["rows"][0]["samples"] == 5
    assert evaluated(tmp_path)["rows"][0]["entropy_of"] == "judge's tokens"


def test_the_mdlm_way_says_how_many_samples_it_dropped(call, texts_file, tmp_path):
    result = call("evaluate", texts_file, "--compat", "mdlm", "--batch-size", 2)
    assert "1 sample beyond the last whole batch of 2" in result.stderr
    assert evaluated(tmp_path)["rows"][0]["samples"] == 4


def test_a_text_with_nothing_to_score_is_reported(call, tmp_path):
    (tmp_path / "own.jsonl").write_text('{"text": ""}\n{"text": "the model"}\n')
    result = call("evaluate", tmp_path / "own.jsonl")
    assert "1 sample had nothing to score" in result.stderr
    assert (
        evaluated(tmp_path)["rows"][0]["empty"] == 1
        and evaluated(tmp_path)["rows"][0]["samples"] == 2
    )


def test_one_sample_has_no_interval(call, tmp_path):
    (tmp_path / "own.jsonl").write_text('{"text": "the model"}\n')
    row = json.loads(call("evaluate", tmp_path / "own.jsonl", "--json").stdout)["rows"][0]
    assert row["gen_ppl"] > 0 and row["gen_ppl_low"] is None


def test_nothing_generated_yet(call, tmp_path):
    assert "run stepimp generate first" in call("evaluate", code=1).stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "judge, message", [("nowhere/none", "Cannot load nowhere/none as a judge"), (".", "no config")]
)
def test_a_judge_that_is_none(call, texts_file, judge, message):
    result = call("evaluate", texts_file, "--judge", judge, code=1)
    assert (
        message in " ".join(result.stderr.split())
        and "Traceback" not in result.stderr
        and not result.stdout
    )


def test_help_says_what_becomes_of_the_first_token_and_of_end_of_text():
    text = " ".join(CliRunner().invoke(main, ["evaluate", "--help"]).stdout.split())
    assert (
        "The first token of a text is not scored" in text
        and "An end-of-text token is scored like any other" in text
    )
