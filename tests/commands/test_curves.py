"""`stepimp kl` and `stepimp loss` on a family of tiny random models."""

import json
import re

import click
import pytest
from documents import call, only_document

from stepimp import documents, results
from stepimp.columns import view
from stepimp.commands import _print
from stepimp.curves import measure
from stepimp.intervals import Estimate
from stepimp.results import finite

BARS = "[▁▂▃▄▅▆▇█]{4} "


@pytest.fixture
def chunks(monkeypatch):
    """The arguments of each chunk that is measured."""
    calls, chunk = [], measure.measure_chunk
    monkeypatch.setattr(
        measure, "measure_chunk", lambda *arguments: calls.append(arguments) or chunk(*arguments)
    )
    return calls


def test_curves_are_written_once_with_both_views(measured):
    out, _ = measured
    assert [path.name.split("-")[0] for path in out.iterdir()] == ["curves"]
    document = only_document(out, "curves")
    assert [row["t"] for row in document["rows"]] == [0.25, 0.5, 0.75, 1.0]
    assert {"relative_kl_nats_low", "loss_diff_nats_high"} <= document["rows"][0].keys()
    assert document["params"]["lights"] == ["1b"] and document["blocks"]["2b"] == 2
    nelbo = {row["model"]: row["deeper"] for row in document["nelbo"]}
    assert nelbo == {"1b": "2b", "2b": None, "2b_seed2": None}


def test_each_command_shows_its_view(measured):
    out, printed = measured
    document = only_document(out, "curves")
    for command, statistics in (
        ("kl", ["kl_nats", "relative_kl_nats"]),
        ("loss", ["loss_abs_diff_nats", "loss_diff_nats"]),
    ):
        text = printed[command].stdout
        assert text.endswith(f"6 sequences -> {document['path']}\n") and re.search(BARS, text)
        assert not re.search("Only|All|Warning", printed[command].stderr)
        for name in statistics:
            greatest = max(document["rows"], key=lambda row: row[name])
            assert Estimate.of(greatest, name).text() in text
    nelbo = Estimate.of(document["nelbo"][0], "nelbo_nats").text()
    assert nelbo in printed["loss"].stdout and nelbo not in printed["kl"].stdout


@pytest.mark.parametrize("first, second", [("kl", "loss"), ("loss", "kl"), ("kl", "kl")])
def test_the_second_command_runs_no_model(curve_options, tmp_path, chunks, first, second):
    call(first, *curve_options, "--out", tmp_path)
    document, count = only_document(tmp_path, "curves"), len(chunks)
    shown = call(second, *curve_options, "--out", tmp_path, "--json")
    assert count == len(chunks) == 2
    assert json.loads(shown.stdout) | {"path": document["path"]} == document
    call(second, *curve_options, "--out", tmp_path)
    assert len(chunks) == 2 and only_document(tmp_path, "curves") == document


@pytest.mark.parametrize(
    "first, second",
    [
        (["--light", "2b_seed2"], []),
        (["--until", 9], ["--until", 9, "--sequences", 3]),
        (["--inputs", "samples", "--split", "all"], ["--inputs", "samples"]),
    ],
    ids=["order of the lights", "sequences without effect", "split without effect"],
)
def test_options_that_measure_the_same_have_one_document(
    curve_options, tmp_path, chunks, first, second
):
    again = [*curve_options[:2], "--light", "2b_seed2", *curve_options[2:], *second]
    together = [*curve_options, *first] if "--light" in first else [*again, *first]
    call("kl", *together, "--out", tmp_path)
    count = len(chunks)
    call("loss", *again, "--out", tmp_path)
    assert len(chunks) == count and only_document(tmp_path, "curves")


def test_other_options_or_another_version_are_measured_again(
    curve_options, tmp_path, chunks, monkeypatch
):
    call("kl", *curve_options, "--out", tmp_path)
    call("kl", *curve_options, "--repeats", 2, "--out", tmp_path)
    assert len(chunks) == 2 + 4 and len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(results, "__version__", "0.0.0")
    call("loss", *curve_options, "--out", tmp_path)
    assert len(chunks) == 2 + 4 + 2 and len(list(tmp_path.iterdir())) == 2


def test_a_document_that_is_reused_becomes_the_newest(curve_options, tmp_path):
    for seed in (0, 1, 0):
        call("kl", *curve_options, "--seed", seed, "--out", tmp_path)
        assert documents.newest(tmp_path, "curves")["params"]["seed"] == seed


def test_json_is_the_document_and_nothing_else(curve_options, tmp_path):
    shown = call("kl", *curve_options, "--out", tmp_path, "--json")
    written = only_document(tmp_path, "curves")
    assert json.loads(shown.stdout) | {"path": written["path"]} == written


def test_a_killed_command_is_resumed_and_ends_with_the_same_rows(
    measured, curve_options, tmp_path, monkeypatch
):
    calls, chunk = [], measure.measure_chunk

    def killed_once(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return chunk(*arguments)

    monkeypatch.setattr(measure, "measure_chunk", killed_once)
    options = [*curve_options, "--baseline", "2b_seed2", "--out", tmp_path]
    result = call("kl", *options, code=130)
    assert "run the same command again" in result.stderr
    assert [path.suffix for path in tmp_path.iterdir()] == [".journal"]
    call("loss", *options)
    assert len(calls) == 3
    assert only_document(tmp_path, "curves")["rows"] == only_document(measured[0], "curves")["rows"]


def test_samples_of_the_heavy_model_are_inputs_too(curve_options, tmp_path):
    call("kl", *curve_options, "--inputs", "samples", "--length", 8, "--out", tmp_path)
    document = only_document(tmp_path, "curves")
    fingerprints = document["provenance"]["fingerprints"]
    assert fingerprints["data"] == f"samples of {fingerprints['models']['2b']}"
    assert document["measurements"]["masked"][3] == [[8.0]] * 6


@pytest.mark.parametrize("nats, stops", [("1000", True), ("1e-12", False)])
def test_until_stops_early_or_says_that_the_text_ended(curve_options, tmp_path, nats, stops):
    options = ["--until", nats, "--batch-size", 20, "--out", tmp_path]
    result = call("kl", *curve_options, *options)
    used = len(only_document(tmp_path, "curves")["measurements"]["masked"][0])
    assert (used == 40) == stops and used > 6
    remark = f"All {used} sequences were used, and the band is still plus or minus"
    assert (remark in result.stderr) == (not stops)


def test_a_short_text_and_a_deep_light_model_are_remarked_on(curve_options, tmp_path):
    swapped = ["--heavy", "1b", "--light", "2b", *curve_options[4:], "--sequences", 300]
    said = call("kl", *swapped, "--out", tmp_path).stderr
    assert "Warning: 2b is deeper than the heavy model 1b." in said
    assert re.search(r"Only \d+ sequences of 32 tokens in .*tiny.txt \(heldout\)\.", said)


def test_models_that_are_not_named_are_the_familys_deepest_and_shallowest(
    tiny_family, tiny_text, tmp_path
):
    where = ["--family", tiny_family, "--data", tiny_text, "--out", tmp_path]
    call("kl", *where, "--sequences", 2, "--points", 1)
    params = only_document(tmp_path, "curves")["params"]
    assert (params["heavy"], params["lights"], params["baseline"]) == ("2b", ["1b"], None)


BAD = {
    "heavy as light": (["--light", "2b"], 2, "2b is the heavy model"),
    "baseline as light": (["--baseline", "1b"], 2, "1b is already heavy or light"),
    "repeats of samples": (["--inputs", "samples", "--repeats", 2], 2, "use one repeat"),
    "unknown model": (["--light", "9b"], 1, "the family in .* has 2b, 1b, 2b_seed2"),
    "too long": (["--length", 99], 1, "length of 99 is over the models' maximum of 32"),
    "until nothing": (["--until", 0], 2, "0"),
}


@pytest.mark.parametrize("extra, code, message", BAD.values(), ids=BAD)
def test_bad_options_end_in_one_message_before_any_work(
    curve_options, tmp_path, extra, code, message
):
    result = call("kl", *curve_options, *extra, "--out", tmp_path, code=code)
    assert re.search(message, result.stderr.replace("\n", " ")) and result.stdout == ""
    assert not list(tmp_path.iterdir())


# ---- tables ----


def test_tables_fit_into_80_columns(measured):
    for result in measured[1].values():
        lines = [line for line in result.stdout.splitlines() if "->" not in line or "=" in line]
        assert max(map(len, lines)) <= 80, result.stdout


WIDE = [["4b", f"0.{'1' * 30} [0.{'2' * 30}, 0.{'3' * 30}]", "0.25"]]


@pytest.mark.parametrize("columns", [20, 60, 80, 200])
@pytest.mark.parametrize("spare", [(), ("b", "c")])
def test_a_table_never_cuts_a_cell(monkeypatch, capsys, columns, spare):
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(columns)}
    for name, value in terminal.items():
        monkeypatch.setenv(name, value)
    _print.print_table("A title that is longer than 20 columns", ["a", "b", "c"], WIDE, spare)
    shown = click.unstyle(capsys.readouterr().out)
    assert "…" not in shown and "4b" in shown and shown.startswith("A title that is longer than 20")
    narrow = bool(spare) and columns < 200
    assert (WIDE[0][1] in shown) == (not narrow)
    assert (f"Not shown in {columns} columns: b" in shown) == narrow


def test_a_file_gets_the_whole_table(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    _print.print_table("A title", ["a", "b", "c"], WIDE, ("b", "c"))
    assert WIDE[0][1] in capsys.readouterr().out


def test_a_curve_with_nothing_measured_at_some_t(measured, capsys):
    rows = view(only_document(measured[0], "curves"), "kl")["rows"]
    unmeasured = finite([row | {"kl_nats": float("nan")} for row in rows[:2]]) + rows[2:]
    _print.print_curves("KL", unmeasured, "kl_nats")
    assert re.search(r"1b +[▁█]{2}   ", capsys.readouterr().out)
    _print.print_curves("KL", finite([row | {"kl_nats": None} for row in rows]), "kl_nats")
    assert "1b" not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["kl", "loss", "recommend", "generate"])
def test_help_has_an_example_of_the_command(command):
    assert re.search(rf"Example:\n +stepimp {command} --", call(command, "--help").stdout)
