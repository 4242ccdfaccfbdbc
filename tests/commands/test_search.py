"""`stepimp search` on tiny random models: documents, tables, kills, processes, bad input."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from documents import call, only_document

from stepimp.documents import read_document

SIZES = {"segments": 5, "light-segments": 2, "steps": 20, "samples": 6, "chunk": 3, "length": 8}
SIZE = [part for name, value in SIZES.items() for part in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def options(tiny_family):
    """Of a small search, under the family's judge."""
    return ["--heavy", "2b", "--light", "1b", "--family", str(tiny_family), *SIZE]


@pytest.fixture(scope="module")
def curves(tiny_family, tiny_text, tmp_path_factory):
    """A results folder with curves of kl in it."""
    out = tmp_path_factory.mktemp("curves")
    models = ["--heavy", "2b", "--light", "1b", "--baseline", "2b_seed2"]
    measured = [*models, "--family", tiny_family, "--data", tiny_text]
    call("kl", *measured, "--sequences", 6, "--points", 4, "--out", out)
    return out


@pytest.fixture
def out(curves, tmp_path):
    """A results folder of the test's own, with the curves in it."""
    return shutil.copytree(curves, tmp_path / "results")


@pytest.fixture(scope="module")
def searched(curves, options, tmp_path_factory):
    """What a search printed, and its document."""
    folder = shutil.copytree(curves, tmp_path_factory.mktemp("searched") / "results")
    return call("search", *options, "--out", folder), document(folder)


def document(out):
    return only_document(out, "search")


PREDICTED = ("predicted_path_kl_nats", "predicted_nelbo_nats", "predicted_relative_kl_nats")
STATISTICS = ("gen_ppl", "entropy_nats", *PREDICTED)


def test_the_document_has_all_schedules_ranked(searched):
    _, written = searched
    rows = written["rows"]
    assert len(rows) == 10 and [row["rank"] for row in rows] == list(range(1, 11))
    banded = {name + end for name in STATISTICS for end in ("", "_low", "_high")}
    assert all(row.keys() == {"rank", "schedule", "segments", "samples"} | banded for row in rows)
    assert all(a["gen_ppl"] <= b["gen_ppl"] for a, b in zip(rows, rows[1:]))
    assert [row["segment"] for row in written["influence"]] == [1, 2, 3, 4, 5]
    assert [row["predicted_by"] for row in written["predictions"]] == list(PREDICTED)
    assert written["curves"].startswith("curves-")
    assert set(written["provenance"]["fingerprints"]) == {"models", "judge"}
    assert written["cost"]["forwards"] > 0 and written["params"]["race"] is None


def test_its_gen_ppl_is_that_of_the_text_which_generate_and_evaluate_give(
    searched, options, tmp_path
):
    """The same samples through the other commands."""
    _, written = searched
    for row in (written["rows"][0], written["rows"][-1]):
        models = [*options[:6], "--length", 8, "--samples", 6]
        call("generate", "--schedule", row["schedule"], *models, "--out", tmp_path)
        scored = json.loads(
            call("evaluate", "--family", options[5], "--out", tmp_path, "--json").stdout
        )["rows"][0]
        assert row["gen_ppl"] == pytest.approx(scored["gen_ppl"], rel=1e-5)
        assert row["entropy_nats"] == pytest.approx(scored["entropy_nats"], rel=1e-5)


def test_influence_is_that_of_the_rows(searched):
    """Formula (8) once more, from the document alone."""
    _, written = searched
    ppl = {row["segments"]: row["gen_ppl"] for row in written["rows"]}
    for j, row in enumerate(written["influence"]):
        light = np.mean([value for name, value in ppl.items() if name[j] == "L"])
        assert row["influence_ppl"] == pytest.approx(light - np.mean(list(ppl.values())))


def test_the_predictions_are_those_of_recommend(searched, curves):
    from stepimp.curves.measurements import Measurements
    from stepimp.schedules.costs import predict
    from stepimp.schedules.schedule import parse

    _, written = searched
    (file,) = curves.glob("curves-*.json")
    measured, row = Measurements.unpack(read_document(file)), written["rows"][3]
    (expected,) = predict(measured, [parse(row["schedule"], "2b", "1b")], "kl", 0)
    assert row["predicted_path_kl_nats_high"] == pytest.approx(expected["path_kl_nats_high"])
    assert row["predicted_nelbo_nats"] == pytest.approx(expected["nelbo_nats"])
    assert row["predicted_relative_kl_nats"] == pytest.approx(expected["objective"])


def test_it_shows_both_ends_influence_and_correlations(searched):
    printed, written = searched
    for row in written["rows"]:
        assert row["segments"] in printed.stdout
    assert len(re.findall(r"^[1-5] +\d\.\d\d -> \d\.\d\d .*│", printed.stdout, re.MULTILINE)) == 5
    for name in ("path KL", "NELBO", "relative KL"):
        assert re.search(rf"^{name} +-?\d\.\d\d \[", printed.stdout, re.MULTILINE)
    best, worst = written["rows"][0], written["rows"][-1]
    assert printed.stdout.splitlines()[-1] == (
        f"Best: {best['segments']} ({best['schedule']}), gen-PPL {best['gen_ppl']:.1f}; worst: "
        f"{worst['segments']}, {worst['gen_ppl']:.1f}; {written['cost']['forwards']:,} forwards "
        f"-> {written['path']}"
    )
    assert printed.stderr == ""


def test_json_is_the_document_and_nothing_else(options, out):
    result = call("search", *options, "--json", "--out", out)
    written = document(out)
    assert json.loads(result.stdout) | {"path": written["path"]} == written and not result.stderr


def test_a_race_says_what_it_saved(searched, options, out):
    result = call(
        "search", *options, "--race", "--top", 1, "--confidence", 0.01, "--chunk", 2, "--out", out
    )
    written = document(out)
    assert written["params"]["race"] == {"top": 1, "confidence": 0.01}
    assert [round_row["samples"] for round_row in written["race"]["rounds"]] == [2, 2, 2]
    assert f"saved {written['race']['saved']:.0%} of the segments" in result.stdout
    whole = {row["segments"]: row["gen_ppl"] for row in searched[1]["rows"]}
    for row in written["rows"]:
        assert row["samples"] in (2, 4, 6)
        assert row["samples"] < 6 or row["gen_ppl"] == pytest.approx(whole[row["segments"]])


def test_other_curves_and_none(searched, options, out, tmp_path, monkeypatch):
    from stepimp.commands import _curves

    (file,) = out.glob("curves-*.json")
    call("search", *options, "--curves", file, "--out", tmp_path / "other")
    assert document(tmp_path / "other")["rows"] == searched[1]["rows"]
    measured = []

    def measure_curves(options, *_):
        measured.append(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(_curves, "measure_curves", measure_curves)
    call("search", *options, "--out", tmp_path / "none", code=130)
    (chosen,) = measured
    assert (chosen.heavy, chosen.lights, chosen.baseline) == ("2b", ("1b",), "2b_seed2")


# ---- kills and processes ----


def start(program, options, out):
    """The command in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", *program, "search", *options, "--out", str(out)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_search_that_is_killed_goes_on_and_ends_with_the_same_rows(searched, options, out):
    longer = [*options, "--samples", "60"]
    process = start(["stepimp"], longer, out)
    journals, deadline = [], time.monotonic() + 300
    while not journals or journals[0].read_bytes().count(b"\n") < 4:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        journals = list(out.glob("*.journal"))
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert journals[0].exists() and not list(out.glob("search-*.json"))
    kept = journals[0].read_bytes().rpartition(b"\n")[0]
    again = json.loads(call("search", *longer, "--json", "--out", out).stdout)
    assert not journals[0].exists() and kept
    whole = json.loads(call("search", *longer, "--json", "--out", out).stdout)
    assert again["rows"] == whole["rows"] and again["cost"]["forwards"] < whole["cost"]["forwards"]


def test_ctrl_c_says_how_to_go_on_and_loses_nothing(searched, options, out, monkeypatch):
    from stepimp.quality import scoring

    scores, calls = scoring.score, []

    def interrupted(*arguments, **chosen):
        calls.append(arguments)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return scores(*arguments, **chosen)

    monkeypatch.setattr(scoring, "score", interrupted)
    result = call("search", *options, "--out", out, code=130)
    assert "run the same command again" in result.stderr and not list(out.glob("search-*.json"))
    call("search", *options, "--out", out)
    assert len(calls) == 1 + 20 and document(out)["rows"] == searched[1]["rows"]


def test_two_processes_under_torchrun_give_the_same_rows(searched, options, out):
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "stepimp"]
    process = start(torchrun, [*options, "--json"], out)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    written = json.loads(stdout)
    assert written["rows"] == searched[1]["rows"] and written["cost"]["processes"] == 2
    assert written["log_ppl"] == searched[1]["log_ppl"] and not list(out.glob("*.journal"))


# ---- bad input ----

BAD = {
    "no heavy segment": (
        ["--light-segments", 5],
        2,
        "5 light segments must be fewer than the 5 segments",
    ),
    "fewer steps than segments": (["--steps", 4], 2, "4 steps cannot be cut into 5 segments"),
    "too many schedules": (
        ["--segments", 20, "--light-segments", 9],
        2,
        "make 167,960 schedules; the most is 10,000",
    ),
    "a race for all": (
        ["--race", "--top", 10],
        2,
        "10 best schedules must be fewer than the 10 schedules",
    ),
    "heavy as light": (["--light", "2b"], 2, "2b is the heavy model"),
    "certainty": (["--confidence", 1], 2, "--confidence"),
    "too long": (["--length", 33], 1, "outside 1..32"),
    "unknown model": (["--light", "9b"], 1, "the family in .* has 2b, 1b, 2b_seed2"),
    "no judge": (["--judge", "/nowhere/judge"], 1, "/nowhere/judge"),
    "a judge that is none": (
        ["--judge", os.path.dirname(__file__)],
        1,
        "is not a judge: it has no config.json",
    ),
    "no curves file": (["--curves", "nowhere.json"], 1, "No results file nowhere.json"),
}


@pytest.mark.parametrize("extra, code, message", BAD.values(), ids=BAD)
def test_bad_options_end_in_one_message_before_any_work(options, out, extra, code, message):
    before = sorted(out.iterdir())
    result = call("search", *options, *extra, "--out", out, code=code)
    assert re.search(message, " ".join(result.stderr.split())) and result.stdout == ""
    assert sorted(out.iterdir()) == before


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda written: written["provenance"]["fingerprints"]["models"].update(
                {"1b": "0" * 12}
            ),
            "other weights of 1b than there are now",
        ),
        (
            lambda written: (
                written["params"].update(lights=["4b"]) or written["blocks"].update({"4b": 1})
            ),
            "has curves of 2b and 4b, not of 2b and 1b",
        ),
        (lambda written: written.update(command="notes"), "holds no curves"),
    ],
)
def test_curves_of_other_models(options, out, tmp_path, change, message):
    (file,) = out.glob("curves-*.json")
    written = json.loads(file.read_text())
    change(written)
    (tmp_path / "changed.json").write_text(json.dumps(written))
    result = call(
        "search", *options, "--curves", tmp_path / "changed.json", "--out", tmp_path / "own", code=1
    )
    assert message in " ".join(result.stderr.split()) and not list((tmp_path / "own").iterdir())
