"""`stepimp plan` and `stepimp recommend --over masked` on a family of tiny random models."""

import json

import pytest
from documents import call, only_document

from stepimp.intervals import Estimate
from stepimp.schedules import over_masked, plan
from stepimp.schedules.saved import from_json


@pytest.fixture(scope="module")
def over_n(curve_options, tmp_path_factory):
    """A results folder with curves over n, and what kl printed of them."""
    out = tmp_path_factory.mktemp("over_n")
    options = [*curve_options, "--baseline", "2b_seed2", "--by-masked"]
    return out, call("kl", *options, "--out", out)


@pytest.fixture
def options(over_n, tiny_family, tmp_path):
    """Options that find the curves and write to the test's own folder."""
    return ["--curves", only_document(over_n[0], "curves")["path"], "--out", tmp_path / "out"]


def test_curves_over_n_are_shown_by_n_and_share_a_document(over_n, curve_options):
    out, result = over_n
    document = only_document(out, "curves")
    assert document["params"]["by_masked"] is True
    assert [row["masked"] for row in document["rows"]] == [1, 11, 22, 32]
    assert document["measurements"]["masked"][1] == [[11.0]] * 6
    assert "n = all -> 1" in result.stdout and "at n" in result.stdout
    again = call("loss", *curve_options, "--baseline", "2b_seed2", "--by-masked", "--out", out)
    assert only_document(out, "curves") == document and "at n" in again.stdout


def test_other_commands_do_not_take_curves_over_n_for_curves_over_t(over_n, tmp_path):
    path = only_document(over_n[0], "curves")["path"]
    said = call("recommend", "--curves", path, "--out", tmp_path, code=1).stderr
    assert "curves over the number of masked positions, where those over t are needed" in said


@pytest.mark.parametrize("extra", [[], ["--budget", "0.6"], ["--by", "kl"]], ids=str)
def test_a_plan_is_shown_whole_and_saved(options, tmp_path, extra):
    saved = tmp_path / "deep" / "plan.json"
    result = call("plan", "--forwards", 8, *extra, *options, "--save", saved)
    document = only_document(tmp_path / "out", "plan")
    rows = {row["name"]: row for row in document["rows"]}
    assert list(rows) == [
        "recommended",
        "best of 2b alone",
        "best of 1b alone",
        "even groups of 2b",
    ]
    best, share = rows["recommended"], document["params"]["budget"]
    assert best["heavy_forwards"] <= 8 * share + 1e-9
    for row in document["rows"]:
        assert row["heavy_forwards"] <= 8 * share + 1e-9
        assert row["objective"] >= best["objective"] - 1e-9
        assert Estimate.of(row, "objective").text() in result.stdout
    costs = [row["heavy_forwards"] for row in document["frontier"]]
    nats = [row["objective"] for row in document["frontier"]]
    assert costs == sorted(costs) and nats == sorted(nats, reverse=True) and len(costs) > 5
    assert {row["name"] for row in document["fixed"]} == {"all-heavy", "all 1b", "sandwich of 1b"}
    schedule = from_json(saved.read_text()).schedule
    assert schedule == plan.parse(best["schedule"], "2b", "1b", length=32)
    last = result.stdout.splitlines()[-2:]
    assert last[0] == f"Recommended: {best['schedule']} -> {document['path']}"
    assert last[1] == f"The plan as JSON -> {saved}"


def test_passes_beyond_one_per_token_change_nothing(options, tmp_path):
    rows = []
    for forwards in (32, 1e9):
        call("plan", "--forwards", forwards, *options)
        rows.append(only_document(tmp_path / "out", "plan")["rows"])
        next((tmp_path / "out").glob("plan-*.json")).unlink()
    assert rows[0] == rows[1]


def test_fixed_steps_are_never_below_the_frontier(options, tmp_path):
    call("plan", "--forwards", 8, *options)
    document = only_document(tmp_path / "out", "plan")
    for fixed in document["fixed"]:
        below = [
            row["nelbo_nats"]
            for row in document["frontier"]
            if row["heavy_forwards"] <= fixed["heavy_forwards"]
        ]
        assert not below or min(below) <= fixed["nelbo_nats"] + 0.02


@pytest.mark.parametrize("sampler", ["ancestral", "first-hitting"])
def test_a_recommendation_over_masked_positions(options, tmp_path, sampler):
    saved, extra = tmp_path / "schedule.json", ["--steps", 40, "--sampler", sampler]
    result = call(
        "recommend", "--over", "masked", "--budget", 0.5, *extra, *options, "--save", saved
    )
    document = only_document(tmp_path / "out", "recommend_masked")
    best = document["rows"][0]
    assert best["name"] == "recommended" and best["light_fraction"] == pytest.approx(0.5, abs=0.05)
    again = from_json(saved.read_text())
    assert again.schedule == over_masked.parse(best["schedule"], "2b", "1b", length=32)
    assert again.steps == (40 if sampler == "ancestral" else None)
    assert again.provenance["document"] == document["path"].rpartition("/")[2]
    for row in document["rows"]:
        assert row["schedule"] in result.stdout
        assert Estimate.of(row, "over_steps_diff_nats").text() in result.stdout
    assert f"Recommended: {best['schedule']} -> {document['path']}" in result.stdout
    assert best["best_over_steps"] in result.stdout


def test_the_newest_matching_curves_are_found(over_n, tiny_family, tmp_path):
    out = over_n[0]
    call("plan", "--forwards", 4, "--family", tiny_family, "--out", out)
    shown = call("recommend", "--over", "masked", "--family", tiny_family, "--out", out, "--json")
    curves = only_document(out, "curves")["path"].rpartition("/")[2]
    assert json.loads(shown.stdout)["params"]["curves"] == curves
    assert only_document(out, "plan")["params"]["curves"] == curves


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["plan", "--forwards", "0.1"], 1, "less than one pass of the smallest model"),
        (["plan", "--forwards", "0"], 2, "--forwards"),
        (["plan", "--forwards", "8", "--budget", "1.5"], 2, "--budget"),
        (["plan", "--forwards", "8", "--heavy", "1b"], 1, "has 2b as the heavy model, not 1b"),
        (["plan", "--forwards", "8", "--light", "9b"], 1, "has no curve of '9b', only of 1b"),
        (["recommend", "--over", "masked", "--verify"], 2, "need --over steps"),
        (["recommend", "--over", "masked", "--shortest", "2"], 2, "need --over steps"),
        (["recommend", "--over", "masked", "--samples", "4"], 2, "counts with --verify alone"),
        (["recommend", "--over", "masked", "--judge", "j"], 2, "counts with --verify alone"),
        (["recommend", "--sampler", "first-hitting"], 2, "--sampler needs --over masked"),
    ],
    ids=str,
)
def test_what_cannot_be_planned(options, tmp_path, arguments, code, message):
    said = call(*arguments, *options, code=code).stderr.replace("\n", " ")
    assert message in said and not list((tmp_path / "out").glob("*"))


def test_curves_over_t_cannot_be_planned_with(measured, tmp_path):
    path = only_document(measured[0], "curves")["path"]
    said = call("plan", "--forwards", 4, "--curves", path, "--out", tmp_path, code=1).stderr
    assert "has curves over t, where those over the number of masked positions" in said


@pytest.mark.parametrize("kind", ["plan", "masked"])
def test_generate_runs_what_was_saved(options, tiny_family, tmp_path, kind):
    saved = tmp_path / "saved.json"
    advise = ["plan", "--forwards", 4] if kind == "plan" else ["recommend", "--over", "masked"]
    call(*advise, *options, "--save", saved)
    where = ["--family", tiny_family, "--out", tmp_path / "texts"]
    call("generate", "--schedule", saved, "--samples", 2, *where)
    document = only_document(tmp_path / "texts", "generate")
    schedule = from_json(saved.read_text()).schedule
    assert document["rows"][0]["schedule"] == schedule.format("2b", "1b")
    if kind == "plan":
        assert document["cost"]["forwards"] <= 2 * schedule.forwards
        said = call("generate", "--schedule", saved, "--steps", 9, *where, code=1).stderr
        assert "takes neither a T nor a sampler" in " ".join(said.split())


@pytest.mark.parametrize("kind", ["plan", "masked", "first-hitting"])
def test_compare_runs_what_was_saved(options, tiny_family, tmp_path, kind):
    saved, where = tmp_path / "saved.json", ["--family", tiny_family, "--out", tmp_path / "texts"]
    advise = ["plan", "--forwards", 4] if kind == "plan" else ["recommend", "--over", "masked"]
    if kind != "plan":
        advise += ["--sampler", "first-hitting"] if kind == "first-hitting" else ["--steps", 40]
    call(*advise, *options, "--save", saved)
    sizes = ["--samples", 3, "--batch-size", 2, "--steps", 40]
    shown = call("compare", "--schedule", saved, *sizes, *where).stdout
    document = only_document(tmp_path / "texts", "compare")
    row = document["rows"][0]
    name = "saved.json" + (", first-hitting" if kind == "first-hitting" else "")
    assert row["name"] == name and name in shown
    call("generate", "--schedule", saved, "--samples", 3, *where)
    made = only_document(tmp_path / "texts", "generate")
    compared = (tmp_path / "texts" / row["samples_file"]).read_text()
    for line in (tmp_path / "texts" / made["rows"][0]["samples_file"]).read_text().splitlines():
        assert json.dumps(json.loads(line)["tokens"])[1:-1] in compared
    if kind != "plan":
        other = ["--schedule", saved, *sizes[:-1], 8, *where]
        if kind == "masked":
            assert "has 40 steps, not T = 8" in call("compare", *other, code=1).stderr
