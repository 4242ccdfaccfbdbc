"""`stepimp compare` on a family of tiny random models: what it writes and shows, and bad input."""

import json

import pytest
from click.testing import CliRunner

from stepimp.commands import main
from stepimp.documents import read_document
from stepimp.schedules.schedule import parse


@pytest.fixture
def run(tiny_family, tmp_path):
    """A function (*options) -> the result of the command on the tiny family, with few and short
    samples.
    """

    def run(*options, code=0):
        small = [
            "--heavy",
            "2b",
            "--light",
            "1b",
            "--family",
            tiny_family,
            "--out",
            tmp_path,
            "--length",
            8,
        ]
        options = [*small, "--samples", 4, "--batch-size", 2, "--steps", 8, *options]
        result = CliRunner().invoke(main, ["compare", *map(str, options)])
        assert result.exit_code == code, result.output
        return result

    return run


def document(folder):
    (path,) = folder.glob("compare-*.json")
    return read_document(path)


STATISTICS = (
    "gen_ppl",
    "corpus_ppl",
    "entropy_nats",
    "log_ppl_diff",
    "entropy_diff_nats",
    "seconds",
    "saved_seconds",
)
COLUMNS = {
    "name",
    "schedule",
    "light",
    "light_fraction",
    "saved_flops",
    "saved_flops_exact",
    "samples",
    "empty",
    "samples_file",
} | {name + end for name in STATISTICS for end in ("", "_low", "_high")}


def test_the_command_writes_and_shows_the_seven_and_misses_a_recommendation(run, tmp_path):
    result = run()
    written = document(tmp_path)
    assert len(written["rows"]) == 7 and all(row.keys() == COLUMNS for row in written["rows"])
    assert (
        "No recommendation for 2b and 1b at T = 8" in result.stderr
        and "stepimp recommend" in result.stderr
    )
    for row in written["rows"]:
        assert row["schedule"] in result.stdout and (tmp_path / row["samples_file"]).exists()
        assert (
            len(written["per_sample"][parse(row["schedule"], "2b", "1b").format()]["log_ppl"]) == 4
        )
    assert max(len(line) for line in result.stdout.splitlines()[1:-2]) <= 80
    assert (
        len(written["pairs"]) == 10
        and " of 10 pairs of placements differ, all at 95% together" in result.stdout
    )
    assert written["path"] in result.stdout.splitlines()[-1]
    assert written["provenance"]["fingerprints"].keys() == {"models", "judge", "data"}


def test_json_is_all_that_stdout_holds(run):
    assert len(json.loads(run("--fractions", "0:1:0.5", "--json").stdout)["rows"]) == 3


def test_several_light_models_and_schedules_of_ones_own(run, tmp_path):
    run("--light", "2b_seed2", "--schedule", "L2,H6", "--schedule", "H6,L2")
    rows = document(tmp_path)["rows"]
    assert [(row["schedule"], row["light"]) for row in rows] == [
        ("L2,H6", "1b"),
        ("H6,L2", "1b"),
        ("L2,H6", "2b_seed2"),
        ("H6,L2", "2b_seed2"),
        ("H8", None),
    ]


def test_the_command_starts_samples_with_text(run, tiny_text, tmp_path):
    assert (
        "8 tokens, 3 of them given"
        in run("--prefix-length", 3, "--data", tiny_text, "--schedule", "L8").stdout
    )
    written = document(tmp_path)
    assert (
        written["params"]["data"] == str(tiny_text)
        and written["provenance"]["fingerprints"]["data"]
    )


def test_schedules_over_masked_positions_and_plans(run, tmp_path):
    given = ["L@8-4,H@4-0", "L*4,H*2x2", "L2,H6"]
    result = run(*(word for text in given for word in ("--schedule", text)))
    rows = document(tmp_path)["rows"]
    assert [row["schedule"] for row in rows] == [*given, "H8"]
    assert [row["name"] for row in rows] == ["over masked", "plan", "given", "all-heavy"]
    over_masked, plan, over_steps, heavy = rows
    passes = 8 * (1 - (7 / 8) ** 8)  # expected steps at which one of 8 positions unmasks
    assert plan["light_fraction"] == pytest.approx(1 / 3)
    assert plan["saved_flops"] == pytest.approx(1 - (2 + 1 / 2) / passes)
    assert over_steps["saved_flops"] == pytest.approx(1 / 8) and heavy["saved_flops"] == 0
    assert 0 < over_masked["saved_flops"] < 1 / 2
    for row in rows[:3]:
        assert row["saved_flops"] == pytest.approx(row["saved_flops_exact"], abs=0.3)
        assert row["gen_ppl"] > 1 and row["seconds"] > 0 and row["schedule"] in result.stdout
    assert document(tmp_path)["pairs"] == []  # placements are of schedules over steps


@pytest.mark.parametrize(
    "options, code, message",
    [
        (["--fractions", "0:2:0.1"], 2, "not a range of fractions such as 0:1:0.1"),
        (["--fractions", "0:1:0"], 2, "not a range of fractions"),
        (["--fractions", "half"], 2, "not a range of fractions"),
        (["--light", "2b"], 2, "2b is the heavy model"),
        (["--schedule", "L2,H5"], 1, "sums to 7 steps, not to T = 8"),
        (["--schedule", "L2,X"], 1, "cannot read 'X'"),
        (["--schedule", "L@4-2,H@2-0"], 1, "8 masked positions; the schedule is made for at most"),
        (["--schedule", "nowhere.json"], 1, "Cannot read the schedule of nowhere.json"),
        (["--prefix-length", 8], 1, "the whole length of 8"),
        (["--prefix-length", 9], 1, "the whole length of 8"),
        (["--schedule", "L1,H3", "--fractions", "0:1:0.5"], 2, "either --schedule or --fractions"),
        (["--length", 33], 1, "outside 1..32"),
        (["--judge", "nowhere/at-all"], 1, "Cannot load nowhere/at-all as a judge"),
        (["--samples", 1], 2, "--samples"),
    ],
)
def test_bad_options_end_in_one_message(run, tmp_path, options, code, message):
    result = run(*options, code=code)
    assert message in " ".join(result.stderr.split()) and not result.stdout
    assert not list(tmp_path.iterdir())
