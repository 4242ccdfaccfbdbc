"""`stepimp recommend` on a family of tiny random models."""

import json
import shutil

import click
import pytest
from documents import call, only_document

from stepimp.commands import _curves
from stepimp.intervals import Estimate


@pytest.fixture(scope="module")
def advised(measured, tiny_family, tmp_path_factory):
    """What recommend printed, and its document; the curves are copied beside it."""
    out = shutil.copytree(measured[0], tmp_path_factory.mktemp("advice") / "results")
    options = ["--tradeoff", "--verify", "--samples", 3, "--out", out]
    result = call("recommend", "--steps", 40, "--family", tiny_family, *options)
    return result, only_document(out, "recommend")


@pytest.fixture
def curves(measured):
    """The document of the curves, free to be changed."""
    return only_document(measured[0], "curves")


def test_the_newest_curves_give_a_recommendation_that_is_shown_whole(curves, advised):
    result, document = advised
    assert document["params"]["curves"] == curves["path"].rpartition("/")[2]
    assert document["rows"][0]["name"] == "recommended"
    assert document["rows"][0]["light_fraction"] == 0.25 and document["blocks"]["1b"] == 1
    assert document["curves"] == curves["rows"]
    for row in (*document["rows"], *document["tradeoff"]):
        assert row["schedule"] in result.stdout
        for name in ("path_kl_nats", "nelbo_nats", "objective"):
            assert Estimate.of(row, name).text() in result.stdout
    *_, before, last = result.stdout.splitlines()
    assert last == f"Recommended: {document['rows'][0]['schedule']} -> {document['path']}"
    assert "boundaries" in before.lower() and f"{document['boundaries']['agreement']:.0%}" in before


def test_a_narrow_terminal_gets_fewer_columns_and_whole_numbers(advised, tmp_path, curves):
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}
    options = ["--curves", curves["path"], "--steps", 40, "--out", tmp_path]
    shown = click.unstyle(call("recommend", *options, "--tradeoff", env=terminal).stdout)
    assert "…" not in shown
    for row in advised[1]["rows"]:
        assert row["schedule"] in shown and Estimate.of(row, "objective").text() in shown
    tables = [line for line in shown.splitlines() if "->" not in line and "Boundar" not in line]
    assert max(map(len, tables)) <= 80


def test_verification_is_shown_beside_the_prediction(advised):
    result, document = advised
    assert "3 samples each, judge " in result.stdout
    rows = {row["name"]: row for row in document["verification"]}
    assert {"recommended", "sandwich", "all-heavy"} < rows.keys() and len(rows) == 4
    assert rows["all-heavy"]["log_ppl_diff"] == rows["all-heavy"]["path_kl_nats"] == 0
    predicted = {row["name"]: row for row in document["rows"]}
    for name, row in rows.items():
        assert row["path_kl_nats_low"] == predicted[name]["path_kl_nats_low"]
        assert row["samples"] == 3 and 0 < row["entropy_nats"] < 4
        assert row["gen_ppl_low"] < row["gen_ppl"]
        assert Estimate.of(row, "gen_ppl").text(2) in result.stdout


def test_json_is_the_document_and_nothing_else(curves, tmp_path):
    options = ["--curves", curves["path"], "--steps", 20, "--out", tmp_path, "--json"]
    written = call("recommend", *options).stdout, only_document(tmp_path, "recommend")
    assert json.loads(written[0]) | {"path": written[1]["path"]} == written[1]


@pytest.mark.parametrize(
    "extra",
    [["--by", "loss"], ["--by", "nelbo", "--save-flops"], ["--heavy", "2b", "--light", "1b"]],
)
def test_other_objectives_and_budgets_need_no_new_curves(curves, tiny_family, tmp_path, extra):
    shutil.copy(curves["path"], tmp_path)
    call("recommend", *extra, "--steps", 20, "--family", tiny_family, "--out", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert only_document(tmp_path, "recommend")["rows"][0]["name"] == "recommended"


@pytest.mark.parametrize("kind", ["kl", "loss"])
def test_documents_of_earlier_versions_are_read(curves, tiny_family, tmp_path, kind):
    """They had the same measurements under the name of their command."""
    (tmp_path / f"{kind}-0.json").write_text(json.dumps(curves | {"command": kind}))
    found = ["--by", kind, "--family", tiny_family]
    for where in (found, ["--curves", tmp_path / f"{kind}-0.json"]):
        call("recommend", *where, "--steps", 20, "--out", tmp_path)
        document = only_document(tmp_path, "recommend")
        assert document["params"]["curves"] == f"{kind}-0.json"
        (tmp_path / document["path"]).unlink()


def test_for_the_relative_kl_curves_with_a_baseline_come_first(curves, tiny_family, tmp_path):
    shutil.copy(curves["path"], tmp_path)
    curves["params"]["baseline"] = curves["measurements"]["baseline"] = None
    (tmp_path / "curves-newer.json").write_text(json.dumps(curves))
    for by, newest in (("kl", False), ("nelbo", True)):
        options = ["--by", by, "--steps", 20, "--family", tiny_family, "--out", tmp_path]
        read = json.loads(call("recommend", *options, "--json").stdout)["params"]["curves"]
        assert (read == "curves-newer.json") == newest


@pytest.mark.parametrize(
    "by, low, warned",
    [("kl", 0.01, False), ("kl", -0.01, True), ("loss", -0.01, False), ("kl", None, False)],
)
def test_a_relative_kl_that_is_nowhere_above_0_is_warned_of(curves, tmp_path, by, low, warned):
    """Curves whose relative KL is -1 everywhere and `low` at one t, without any noise; None: no
    baseline.
    """
    sums, masked = curves["measurements"]["kl"], curves["measurements"]["masked"]
    for i, at_one_time in enumerate(masked):
        for n, (count,) in enumerate(at_one_time):
            below = (low or 0) * count if i == 2 else -count
            sums["2b_seed2"][i][n] = [sums["1b"][i][n][0] - below]
    if low is None:
        curves["measurements"]["baseline"] = None
    (tmp_path / "kl.json").write_text(json.dumps(curves))
    options = ["--curves", tmp_path / "kl.json", "--by", by, "--steps", 20, "--out", tmp_path]
    warning = call("recommend", *options).stderr
    assert ("nowhere is the relative KL resolved above 0" in warning) == warned


@pytest.mark.parametrize("named", [[], ["--heavy", "2b", "--light", "1b"]])
def test_without_curves_they_are_measured_with_the_familys_other_seed(
    tiny_family, tmp_path, monkeypatch, named
):
    asked = []

    def measured(options, *where):
        asked.append(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(_curves, "measure_curves", measured)
    call("recommend", *named, "--family", tiny_family, "--out", tmp_path, code=130)
    (options,) = asked
    assert (options.heavy, options.lights, options.baseline) == ("2b", ("1b",), "2b_seed2")
    assert (options.points, options.sequences, options.family) == (20, 200, str(tiny_family))


def test_verify_refuses_models_that_changed_since(curves, tmp_path):
    curves["provenance"]["fingerprints"]["models"]["1b"] = "0" * 12
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(curves))
    options = ["--curves", changed, "--steps", 20, "--verify", "--out", tmp_path]
    said = call("recommend", *options, code=1).stderr.replace("\n", " ")
    assert (
        "was measured with other weights of 1b than there are now. Measure the curves again" in said
    )
    assert [path.name for path in tmp_path.iterdir()] == ["changed.json"]


@pytest.mark.parametrize(
    "extra, code, message",
    [
        (["--budget", "1.5"], 2, "1.5"),
        (["--segments", "1"], 1, "the nearest that can: 0, 1"),
        (["--light", "4b"], 1, "has no curve of '4b', only of 1b"),
        (["--heavy", "1b"], 1, "has 2b as the heavy model, not 1b"),
        (["--curves", __file__], 1, "not a results file"),
    ],
)
def test_recommend_names_what_it_cannot_do(curves, tmp_path, extra, code, message):
    options = ["--curves", curves["path"], *extra, "--steps", 20, "--out", tmp_path]
    said = call("recommend", *options, code=code).stderr.replace("\n", " ")
    assert message in said and not list(tmp_path.iterdir())
