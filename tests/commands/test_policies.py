"""`stepimp compare --policies` on a family of tiny random models."""

import pytest
from documents import call, only_document

from stepimp.intervals import Estimate
from stepimp.quality.policies import result_check

NAMES = ["all-heavy", "best over steps", "best over n", "plan", "cascade", "draft and verify"]
SIZES = ["--steps", 40, "--samples", 3, "--sequences", 4, "--batch-size", 2, "--budget", 0.2]


@pytest.fixture(scope="module")
def folder(curve_options, tmp_path_factory):
    """A results folder with curves over n."""
    out = tmp_path_factory.mktemp("policies")
    call("kl", *curve_options, "--by-masked", "--out", out)
    return out


@pytest.fixture(scope="module")
def compared(folder, tiny_family):
    """What the command printed, and its document."""
    options = ["--policies", *SIZES, "--family", tiny_family, "--out", folder]
    return call("compare", *options), only_document(folder, "policies")


def test_all_policies_are_compared_at_one_cost(compared):
    result, document = compared
    rows = {row["name"]: row for row in document["rows"]}
    assert list(rows) == NAMES
    whole = rows["all-heavy"]["predicted_heavy_forwards"]
    for name in NAMES[1:5]:
        spent = rows[name]["predicted_heavy_forwards"]
        assert spent <= 0.84 * whole and (spent >= 0.76 * whole or name == "plan")
        assert Estimate.of(rows[name], "nelbo_diff_nats").text(4) in result.stdout
    for name in ("nelbo_nats", "predicted_nelbo_nats"):  # one law
        assert rows["all-heavy"][name] == pytest.approx(rows["draft and verify"][name])
    assert rows["best over steps"]["nelbo_diff_nats"] == 0
    assert rows["best over steps"]["verdict"] == "the reference"
    assert rows["all-heavy"]["verdict"] == rows["draft and verify"]["verdict"] == "other cost"
    draft = rows["draft and verify"]
    assert draft["sequential_heavy"] < rows["all-heavy"]["sequential_heavy"]
    assert draft["policy"] == "draft(4)" and rows["cascade"]["policy"].startswith("cascade(")
    for name in ("best over n", "plan", "cascade"):
        difference = Estimate.of(rows[name], "nelbo_diff_nats")
        expected = "better" if difference.high < 0 else "worse" if difference.low > 0 else None
        assert rows[name]["verdict"] == (expected or "not better")
        assert f"{name}: " in result.stdout
    assert result.stdout.endswith(f"Policies compared -> {document['path']}\n")


def test_prediction_and_measurement_are_of_the_same_size(compared):
    """Random models, so that all text is alike: the measured NELBO is near the predicted one."""
    for row in compared[1]["rows"]:
        measured = Estimate.of(row, "nelbo_nats")
        assert measured.value == pytest.approx(row["predicted_nelbo_nats"], rel=0.15)


@pytest.mark.parametrize(
    "extra, code, message",
    [
        (["--schedule", "H4"], 2, "--policies cannot be combined with --schedule"),
        (["--prefix-length", 2], 2, "cannot be combined with --prefix-length"),
        (["--light", "1b", "--light", "2b_seed2"], 2, "give one --light"),
        (["--budget", 0.9], 1, "saves at most 50.0% of the FLOPs"),
        (["--sequences", 9999], 1, "9999 further ones are needed"),
    ],
    ids=str,
)
def test_what_cannot_be_compared(folder, tiny_family, extra, code, message):
    options = ["--policies", *SIZES, *extra, "--family", tiny_family, "--out", folder]
    assert message in call("compare", *options, code=code).stderr.replace("\n", " ")


CALLS = {"2b": 1, "1b": 0}
DRAWN = {"seconds": 1.0, "forwards": CALLS, "sequential": CALLS, "tokens": [[1, 2]], "text": ["a"]}


@pytest.mark.parametrize(
    "unit, result",
    [
        ("text:plan:0:2", {"losses": [1.0], "tokens": 2}),
        ("text:plan:0:1", {"losses": [1.0], "tokens": 3}),
        ("samples:plan:0:1", DRAWN | {"text": []}),
        ("samples:plan:0:1", DRAWN | {"forwards": {"2b": 1}}),
        ("samples:plan:0:1", DRAWN | {"tokens": [[1, 2, 3]]}),
        ("samples:plan:0:1", DRAWN | {"tokens": [[1, 9]]}),
        ("samples:plan:0:0", DRAWN | {"tokens": [], "text": []}),
        ("samples", DRAWN),
    ],
)
def test_a_journal_of_other_sizes_is_damaged(unit, result):
    check = result_check(("2b", "1b"), length=2, vocabulary=9)
    assert check("samples:a plan: of: one:0:1", DRAWN) == ""
    assert check("text:plan:4:5", {"losses": [1.0], "tokens": 2}) == ""
    assert check(unit, result) != ""
