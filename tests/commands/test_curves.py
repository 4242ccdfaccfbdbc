"""`stepimp kl`, `loss` and `recommend` on a family of tiny random models."""

import json
import re

import pytest
from click.testing import CliRunner

from stepimp.commands import main
from stepimp.results import read_document


def call(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture(scope="module")
def options(tiny_family, tiny_text):
    measured = ["--heavy", "2b", "--light", "1b", "--family", tiny_family, "--data", tiny_text]
    return [*measured, "--sequences", 6, "--points", 4, "--batch-size", 3]


@pytest.fixture(scope="module")
def results(tmp_path_factory, options):
    """A folder with the curves of kl and loss, and what the commands printed."""
    out = tmp_path_factory.mktemp("results")
    printed = {
        "kl": call("kl", *options, "--baseline", "2b_seed2", "--out", out),
        "loss": call("loss", *options, "--out", out),
    }
    return out, printed


def document(out, command):
    (file,) = out.glob(f"{command}-*.json")
    return read_document(file)


COLUMNS = {
    "kl": ["kl_nats", "baseline_kl_nats", "relative_kl_nats"],
    "loss": ["loss_abs_diff_nats", "loss_diff_nats", "ce_nats", "ce_heavy_nats"],
}


@pytest.mark.parametrize("command", COLUMNS)
def test_curves_are_written_with_their_columns_and_shown(results, command):
    out, printed = results
    found = document(out, command)
    assert [row["t"] for row in found["rows"]] == [0.25, 0.5, 0.75, 1.0]
    bands = {name + end for name in COLUMNS[command] for end in ("", "_low", "_high")}
    assert all(row.keys() == bands | {"t", "model", "sequences"} for row in found["rows"])
    assert found["params"]["lights"] == ["1b"] and found["blocks"]["2b"] == 2
    assert not list(out.glob("*.journal"))
    text = printed[command].stdout
    assert text.endswith(f"6 sequences -> {found['path']}\n") and re.search("[▁▂▃▄▅▆▇█]{4} ", text)
    assert printed[command].stderr == ""
    nelbo = {row["model"]: row for row in found["nelbo"]}
    assert (
        list(nelbo) == ["1b", "2b", *(["2b_seed2"] if command == "kl" else [])]
        and nelbo["1b"]["deeper"] == "2b"
    )
    assert (f"{nelbo['1b']['nelbo_nats']:.4f} ±" in text) == (command == "loss")


def test_one_command_measures_what_the_other_does(results):
    """kl and loss of the same options see the same inputs."""
    out, _ = results
    kl, loss = (document(out, command)["measurements"] for command in ("kl", "loss"))
    assert kl["ce"]["1b"] == loss["ce"]["1b"] and kl["kl"]["1b"] == loss["kl"]["1b"]


@pytest.mark.parametrize("command", ["kl", "recommend"])
def test_json_is_the_document_and_nothing_else(results, options, tmp_path, command):
    own = (
        options
        if command == "kl"
        else ["--curves", document(results[0], "kl")["path"], "--steps", 20]
    )
    result = call(command, *own, "--out", tmp_path, "--json")
    written = document(tmp_path, command)
    assert json.loads(result.stdout) | {"path": written["path"]} == written


def test_a_killed_command_goes_on_and_ends_with_the_same_rows(
    results, options, tmp_path, monkeypatch
):
    from stepimp.curves import measure

    calls, chunk = [], measure.measure_chunk

    def counted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return chunk(*arguments)

    monkeypatch.setattr(measure, "measure_chunk", counted)
    result = call("kl", *options, "--baseline", "2b_seed2", "--out", tmp_path, code=1)
    assert "the same command goes on from there" in result.stderr
    assert [path.suffix for path in tmp_path.iterdir()] == [".journal"]
    call("kl", *options, "--baseline", "2b_seed2", "--out", tmp_path)
    assert len(calls) == 3
    assert document(tmp_path, "kl")["rows"] == document(results[0], "kl")["rows"]


def test_samples_of_the_heavy_model_are_inputs_too(options, tmp_path):
    call("kl", *options, "--inputs", "samples", "--length", 8, "--out", tmp_path)
    found = document(tmp_path, "kl")
    fingerprints = found["provenance"]["fingerprints"]
    assert fingerprints["data"] == f"samples of {fingerprints['models']['2b']}"
    assert found["measurements"]["masked"][3] == [[8.0]] * 6


@pytest.mark.parametrize("nats, stops", [("1000", True), ("1e-12", False)])
def test_until_stops_early_or_says_that_the_text_ended(options, tmp_path, nats, stops):
    result = call("kl", *options, "--until", nats, "--batch-size", 20, "--out", tmp_path)
    used = len(document(tmp_path, "kl")["measurements"]["masked"][0])
    assert (used == 40) == stops and used > 6
    assert (
        f"All {used} sequences were used, and the band is still plus or minus" in result.stderr
    ) == (not stops)


BAD = {
    "heavy as light": (["--light", "2b"], 2, "2b is the heavy model"),
    "baseline as light": (["--baseline", "1b"], 2, "1b is already heavy or light"),
    "repeats of samples": (["--inputs", "samples", "--repeats", 2], 2, "use --repeats 1"),
    "unknown model": (["--light", "9b"], 1, "the family in .* has 2b, 1b, 2b_seed2"),
    "too long": (["--length", 99], 1, "--length 99 is over the models' maximum of 32"),
    "until nothing": (["--until", 0], 2, "0"),
}


@pytest.mark.parametrize("extra, code, message", BAD.values(), ids=BAD)
def test_bad_options_end_in_one_message_before_any_work(options, tmp_path, extra, code, message):
    result = call("kl", *options, *extra, "--out", tmp_path, code=code)
    assert re.search(message, result.stderr.replace("\n", " ")) and result.stdout == ""
    assert not list(tmp_path.iterdir())


# ---- recommend ----


@pytest.fixture(scope="module")
def advised(results, tiny_family):
    out, _ = results
    result = call(
        "recommend",
        "--steps",
        40,
        "--family",
        tiny_family,
        "--out",
        out,
        "--tradeoff",
        "--verify",
        "--samples",
        3,
    )
    return result, document(out, "recommend")


def test_the_newest_curves_give_a_recommendation_that_is_shown_whole(results, advised):
    result, found = advised
    assert found["params"]["curves"] == document(results[0], "kl")["path"].rpartition("/")[2]
    assert found["rows"][0]["name"] == "recommended" and found["rows"][0]["light_fraction"] == 0.25
    statistics = {
        name + end
        for name in ("path_kl_nats", "nelbo_nats", "objective")
        for end in ("", "_low", "_high")
    }
    assert all(
        row.keys() == statistics | {"rank", "name", "schedule", "light_fraction", "saved_flops"}
        for row in found["rows"]
    )
    assert (
        found["curves"][0].keys() >= {"relative_kl_nats", "loss_abs_diff_nats"}
        and found["blocks"]["1b"] == 1
    )
    for row in (*found["rows"], *found["tradeoff"]):
        assert row["schedule"] in result.stdout
    last, before = result.stdout.splitlines()[-1], result.stdout.splitlines()[-2]
    assert last == f"Recommended: {found['rows'][0]['schedule']} -> {found['path']}"
    assert "boundaries" in before.lower() and f"{found['boundaries']['agreement']:.0%}" in before


def test_verification_stands_beside_the_prediction(advised):
    result, found = advised
    assert "3 samples each, judge " in result.stdout
    rows = {row["name"]: row for row in found["verification"]}
    assert {"recommended", "sandwich", "all-heavy"} < rows.keys() and len(rows) == 4
    assert rows["all-heavy"]["log_ppl_diff"] == rows["all-heavy"]["path_kl_nats"] == 0
    predicted = {row["name"]: row for row in found["rows"]}
    for name, row in rows.items():
        assert row["path_kl_nats_low"] == predicted[name]["path_kl_nats_low"]
        assert (
            row["samples"] == 3
            and 0 < row["entropy_nats"] < 4
            and row["gen_ppl_low"] < row["gen_ppl"]
        )


def test_tables_are_no_wider_than_a_terminal(results, advised):
    for result in (*results[1].values(), advised[0]):
        assert max(len(line) for line in result.stdout.splitlines() if "->" not in line) <= 104


@pytest.mark.parametrize(
    "extra",
    [["--by", "loss"], ["--by", "nelbo", "--save-flops"], ["--heavy", "2b", "--light", "1b"]],
)
def test_other_objectives_and_budgets_need_no_new_curves(results, tiny_family, tmp_path, extra):
    for kind in ("kl", "loss"):
        path = document(results[0], kind)["path"]
        (tmp_path / path.rpartition("/")[2]).write_bytes(open(path, "rb").read())
    call("recommend", *extra, "--steps", 20, "--family", tiny_family, "--out", tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    assert document(tmp_path, "recommend")["rows"][0]["name"] == "recommended"


@pytest.mark.parametrize(
    "by, low, warned",
    [("kl", 0.01, False), ("kl", -0.01, True), ("loss", -0.01, False), ("kl", None, False)],
)
def test_a_relative_kl_that_is_nowhere_above_0_is_warned_of(results, tmp_path, by, low, warned):
    """Curves whose relative KL is -1 everywhere and `low` at one t, without any noise; None: no
    baseline.
    """
    found = document(results[0], "kl")
    sums, masked = found["measurements"]["kl"], found["measurements"]["masked"]
    for i, ones in enumerate(masked):
        for n, (one,) in enumerate(ones):
            sums["2b_seed2"][i][n] = [
                sums["1b"][i][n][0] - (low or 0) * one if i == 2 else sums["1b"][i][n][0] + one
            ]
    if low is None:
        found["measurements"]["baseline"] = None
    (tmp_path / "kl.json").write_text(json.dumps(found))
    result = call(
        "recommend", "--curves", tmp_path / "kl.json", "--by", by, "--steps", 20, "--out", tmp_path
    )
    assert ("nowhere is the relative KL resolved above 0" in result.stderr) == warned


def test_without_curves_they_are_measured_with_the_familys_other_seed(
    tiny_family, tmp_path, monkeypatch
):
    from stepimp.commands import _curves

    asked = {}

    def measured(command, **options):
        asked.update(options, command=command)
        raise KeyboardInterrupt

    monkeypatch.setattr(_curves, "measure_curves", measured)
    call(
        "recommend",
        "--heavy",
        "2b",
        "--light",
        "1b",
        "--family",
        tiny_family,
        "--out",
        tmp_path,
        code=1,
    )
    assert (asked["command"], asked["heavy"], asked["lights"], asked["baseline"]) == (
        "kl",
        "2b",
        ("1b",),
        "2b_seed2",
    )
    assert asked["points"] == 20 and asked["family"] == str(tiny_family)


def test_verify_refuses_models_that_changed_since(results, tmp_path):
    found = document(results[0], "kl")
    found["provenance"]["fingerprints"]["models"]["1b"] = "0" * 12
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(found))
    result = call(
        "recommend", "--curves", changed, "--steps", 20, "--verify", "--out", tmp_path, code=1
    )
    assert "measured with other weights of 1b: run stepimp kl again" in result.stderr.replace(
        "\n", " "
    )
    assert [path.name for path in tmp_path.iterdir()] == ["changed.json"]


@pytest.mark.parametrize(
    "extra, code, message",
    [
        (["--budget", "1.5"], 2, "1.5"),
        (["--segments", "1"], 1, "the nearest that can: 0, 1"),
        (["--light", "4b"], 1, "has no curve of '4b', only of 1b"),
        (["--heavy", "1b"], 1, "has 2b as the heavy model, not 1b"),
        (["--curves", __file__], 1, "no results file"),
    ],
)
def test_recommend_names_what_it_cannot_do(results, tmp_path, extra, code, message):
    curves = ["--curves", document(results[0], "kl")["path"]]
    result = call("recommend", *curves, *extra, "--steps", 20, "--out", tmp_path, code=code)
    assert message in result.stderr.replace("\n", " ") and not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["kl", "loss", "recommend"])
def test_help_has_an_example_of_the_command(command):
    assert re.search(rf"Example:\n +stepimp {command} --", call(command, "--help").stdout)
