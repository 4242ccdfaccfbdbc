"""Schedules side by side: pairing, reuse of what was drawn, timing in turns, and the command around
it.
"""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy import stats

from stepimp.commands import main
from stepimp.errors import StepimpError
from stepimp.models import loading
from stepimp.quality import comparison
from stepimp.quality.comparison import Plan, Setting
from stepimp.quality.evaluation import score, unigram_entropy
from stepimp.results import Run, read_document
from stepimp.sampling import sampler
from stepimp.schedules.schedule import parse
from stepimp.text.blocks import load_blocks

STEPS, LENGTH = 8, 12


@pytest.fixture(scope="module")
def members(tiny_family):
    return loading.load(["2b", "1b"], tiny_family, "cpu")


@pytest.fixture
def setting(members, tmp_path):
    """A function (**changes) -> a Setting of six samples in batches of two."""

    def make(**changes):
        return Setting(
            **{
                **dict(
                    family=members,
                    heavy="2b",
                    samples=6,
                    length=LENGTH,
                    seed=3,
                    out=str(tmp_path),
                    batch_size=2,
                ),
                **changes,
            }
        )

    return make


def plans(*texts):
    return [Plan("given", "1b", parse(text, "2b", "1b")) for text in texts]


@pytest.fixture
def drawn(monkeypatch):
    """(schedule, indices) of each call of the sampler that is more than a warm-up."""
    calls, sample = [], sampler.sample

    def watched(denoisers, schedule, indices, *arguments, **options):
        if schedule.steps > 1:
            calls.append((schedule.format("2b", "1b"), list(indices)))
        return sample(denoisers, schedule, indices, *arguments, **options)

    monkeypatch.setattr(sampler, "sample", watched)
    return calls


def test_rows_equal_what_sampling_and_scoring_by_hand_give(setting, members, tiny_judge):
    rows, each = comparison.compare(setting(), plans("L2,H6", "L8"), tiny_judge, "now")
    assert [(row["name"], row["schedule"], row["light"]) for row in rows] == [
        ("given", "L2,H6", "1b"),
        ("given", "L8", "1b"),
        ("all-heavy", "H8", None),
    ]
    found = {}
    for row in rows:
        plan = parse(row["schedule"], "2b", "1b")
        tokens = sampler.sample(members.denoisers, plan, range(6), LENGTH, seed=3).tolist()
        found[row["schedule"]] = (
            score(tiny_judge, members.tokenizer.batch_decode(tokens)).log_ppl,
            unigram_entropy(tokens),
        )
    heavy, heavy_entropy = found["H8"]
    for row in rows:
        log_ppl, entropy = found[row["schedule"]]
        assert row["gen_ppl"] == pytest.approx(np.exp(log_ppl).mean(), rel=1e-5)
        assert row["log_ppl_diff"] == pytest.approx((log_ppl - heavy).mean(), abs=1e-5)
        assert row["entropy_nats"] == pytest.approx(entropy.mean())
        assert row["entropy_diff_nats"] == pytest.approx((entropy - heavy_entropy).mean())
        half = 2.5706 * (log_ppl - heavy).std(ddof=1) / 6**0.5  # t of 5 degrees of freedom
        assert row["log_ppl_diff_high"] - row["log_ppl_diff"] == pytest.approx(
            half, rel=1e-3, abs=1e-5
        )
    assert each["1b:2,2b:6"]["log_ppl"] == pytest.approx(found["L2,H6"][0], rel=1e-5)


def test_cost_by_formula_and_counted(setting, tiny_judge):
    rows, _ = comparison.compare(setting(), plans("L2,H6", "L8"), tiny_judge, "now")
    quarter, light, heavy = rows
    assert [row["saved_flops"] for row in rows] == [0.125, 0.5, 0]
    assert heavy["saved_flops_exact"] == heavy["saved_seconds"] == heavy["log_ppl_diff_high"] == 0
    assert 0 < quarter["saved_flops_exact"] < light["saved_flops_exact"] < 1
    assert all(0 < row["seconds_low"] < row["seconds"] < row["seconds_high"] for row in rows)


def test_placements_are_pairs_of_as_many_light_steps_and_hold_together():
    texts = {"L2,H6": 0.3, "H6,L2": 0.1, "H3,L2,H3": 0.2, "L4,H4": 0.5, "L8": 0.9, "H8": 0.0}
    noise = np.random.default_rng(0).standard_normal((2, 40))
    each, rows = {}, []
    for text, effect in texts.items():
        plan = parse(text, "2b", "1b")
        each[plan.format()] = {"log_ppl": 3 + noise[0] + effect * (1 + 0.1 * noise[1])}
        light = None if text == "H8" else "1b"
        rows.append(
            {
                "name": text.lower(),
                "schedule": text,
                "light": light,
                "light_fraction": 1 - plan.fraction("2b"),
            }
        )
    found = comparison.placements([rows[1], *rows], each, "2b")
    assert [(pair["worse"], pair["better"]) for pair in found] == [
        ("L2,H6", "H6,L2"),
        ("L2,H6", "H3,L2,H3"),
        ("H3,L2,H3", "H6,L2"),
    ]
    differences = 0.2 * (1 + 0.1 * noise[1])
    assert found[0]["worse_name"] == "l2,h6" and found[0]["log_ppl_diff"] == pytest.approx(
        differences.mean()
    )
    half = stats.t.ppf(1 - 0.025 / 3, 39) * differences.std(ddof=1) / 40**0.5
    assert found[0]["log_ppl_diff_low"] == pytest.approx(differences.mean() - half)


def test_the_schedules_take_turns(setting, tiny_judge, drawn):
    comparison.compare(setting(), plans("L8"), tiny_judge, "now")
    assert drawn == [(one, [start, start + 1]) for start in (0, 2, 4) for one in ("L8", "H8")]


def test_what_was_drawn_is_not_drawn_again_whoever_asks(setting, tiny_judge, drawn):
    first, _ = comparison.compare(setting(), plans("L8", "L2,H6"), tiny_judge, "first")
    drawn.clear()
    again, _ = comparison.compare(setting(), plans("L2,H6", "H6,L2"), tiny_judge, "second")
    assert {one for one, _ in drawn} == {"H6,L2"}
    assert again[0] == first[1] and again[2] == first[2]
    drawn.clear()
    comparison.compare(setting(samples=8), plans("H6,L2"), tiny_judge, "third")
    assert drawn == [("H6,L2", [6, 7]), ("H8", [6, 7])]


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"length": 10}, {"batch_size": 3}, {"dtype": "other"}]
)
def test_other_samples_are_drawn_anew(setting, tiny_judge, drawn, change):
    comparison.compare(setting(), plans("L8"), tiny_judge, "first")
    drawn.clear()
    comparison.compare(setting(**change), plans("L8"), tiny_judge, "second")
    assert len(drawn) >= 4


def test_other_weights_are_drawn_anew(setting, tiny_judge, tiny_family, drawn):
    comparison.compare(setting(), plans("L8"), tiny_judge, "first")
    drawn.clear()
    others = loading.load(["2b", "2b_seed2"], tiny_family, "cpu")
    named = [Plan("given", "2b_seed2", parse("L8", "2b", "2b_seed2"))]
    comparison.compare(setting(family=others), named, tiny_judge, "second")
    assert len(drawn) == 3


def test_saved_seconds_are_told_only_of_turns_in_one_run(setting, tiny_judge, monkeypatch):
    comparison.compare(setting(samples=4), plans("L8"), tiny_judge, "first")
    rows, _ = comparison.compare(setting(samples=4), plans("H6,L2"), tiny_judge, "second")
    assert (
        np.isnan(rows[0]["saved_seconds"])
        and rows[0]["seconds"] > 0
        and rows[1]["saved_seconds"] == 0
    )
    clock = iter(
        np.cumsum([0, 2, 0, 4] * 2)
    )  # the light schedule takes 2 seconds a turn, the heavy one 4
    monkeypatch.setattr(comparison.Stopwatch, "now", lambda self: float(next(clock)))
    rows, _ = comparison.compare(setting(samples=4, seed=9), plans("L8"), tiny_judge, "third")
    assert rows[0]["saved_seconds"] == 0.5 and (rows[0]["seconds"], rows[1]["seconds"]) == (4, 8)
    assert rows[0]["saved_seconds_low"] == rows[0]["saved_seconds_high"] == 0.5


def test_a_killed_run_goes_on_and_ends_the_same(setting, tiny_judge, tmp_path, monkeypatch, drawn):
    sample = sampler.sample

    def killed(denoisers, schedule, indices, *arguments, **options):
        if schedule.steps > 1 and len(drawn) == 3:
            raise KeyboardInterrupt
        return sample(denoisers, schedule, indices, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(sampler, "sample", killed)
        with pytest.raises(KeyboardInterrupt):
            comparison.compare(setting(), plans("L8"), tiny_judge, "first")
    drawn.clear()
    rows, each = comparison.compare(setting(), plans("L8"), tiny_judge, "second")
    assert len(drawn) == 3
    whole, whole_each = comparison.compare(
        setting(out=str(tmp_path / "whole")), plans("L8"), tiny_judge, "third"
    )
    assert each == whole_each

    def timeless(row):
        return {key: value for key, value in row.items() if "seconds" not in key}

    assert list(map(timeless, rows)) == list(map(timeless, whole))


def test_prefixes_are_held_out_text_and_condition_without_being_scored(
    setting, members, tiny_text, tiny_judge, drawn
):
    prefixes, text = comparison.text_prefixes(str(tiny_text), members, 6, LENGTH, 4, seed=3)
    held_out = (
        load_blocks(str(tiny_text), members.tokenizer, LENGTH, "heldout").tokens[:, :4].tolist()
    )
    assert prefixes.shape == (6, 4) and all(one in held_out for one in prefixes.tolist())
    assert len({tuple(one) for one in prefixes.tolist()}) > 1
    assert torch.equal(
        comparison.text_prefixes(str(tiny_text), members, 3, LENGTH, 4, seed=3)[0], prefixes[:3]
    )
    rows, each = comparison.compare(
        setting(prefixes=prefixes, text=text), plans("L8"), tiny_judge, "now"
    )
    tokens = sampler.sample(
        members.denoisers, parse("L8", "2b", "1b"), range(6), LENGTH, seed=3, prefix=prefixes
    )
    assert tokens[:, :4].tolist() == prefixes.tolist()
    given, whole = (members.tokenizer.batch_decode(one) for one in (prefixes, tokens))
    pairs = [comparison.split_prefix(*pair) for pair in zip(whole, given)]
    expected = score(tiny_judge, [text for _, text in pairs], [prefix for prefix, _ in pairs])
    assert each["1b:8"]["log_ppl"] == pytest.approx(expected.log_ppl.tolist(), rel=1e-5)
    assert expected.tokens.sum() < score(tiny_judge, whole).tokens.sum()
    drawn.clear()
    comparison.compare(setting(), plans("L8"), tiny_judge, "later")
    assert len(drawn) == 6  # samples without the prefixes are others


def test_too_little_text_for_the_prefixes(members, tiny_text):
    with pytest.raises(
        StepimpError, match="held-out sequences of 12 tokens, and 99999 prefixes are needed"
    ):
        comparison.text_prefixes(str(tiny_text), members, 99999, LENGTH, 4, seed=3)


def test_the_papers_seven():
    found = {
        plan.name: plan.schedule.format("12b", "4b")
        for plan in comparison.hand_crafted(1000, "12b", "4b")
    }
    assert found == {
        "all-light": "L1000",
        "1st quarter": "L250,H750",
        "2nd quarter": "H250,L250,H500",
        "3rd quarter": "H500,L250,H250",
        "4th quarter": "H750,L250",
        "sandwich": "L125,H750,L125",
        "all-heavy": "H1000",
    }


def test_a_sweep_of_the_sandwich():
    found = comparison.swept(10, [0, 0.2, 0.21, 1], "12b", "4b")
    assert [(plan.name, plan.light, plan.schedule.format("12b", "4b")) for plan in found] == [
        ("all-heavy", None, "H10"),
        ("sandwich", "4b", "L1,H8,L1"),
        ("all-light", "4b", "L10"),
    ]


def test_the_recommendation_is_of_these_models_steps_and_budget(tmp_path):
    prints = {"2b": "f2", "1b": "f1"}
    params = dict(heavy="2b", lights=["1b"], steps=8, budget=0.25, save_flops=False, seed=0)

    def write(**changes):
        run = Run(tmp_path, "recommend", {**params, **changes}, {"models": prints})
        run.finish([{"schedule": "H6,L2"}])

    for other in (
        {"steps": 9},
        {"budget": 0.3},
        {"lights": ["1b", "3b"]},
        {"save_flops": True},
        {"heavy": "3b"},
    ):
        write(**other)
    assert comparison.recommended(tmp_path, 8, "2b", "1b", prints) is None
    write()
    assert comparison.recommended(tmp_path, 8, "2b", "1b", prints) == Plan(
        "recommended", "1b", parse("H6,L2", "2b", "1b")
    )
    assert (
        comparison.recommended(tmp_path, 8, "2b", "1b", {**prints, "1b": "trained again"}) is None
    )


# ---- the command ----


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
    found = document(tmp_path)
    assert len(found["rows"]) == 7 and all(row.keys() == COLUMNS for row in found["rows"])
    assert (
        "No recommendation for 2b and 1b at T = 8" in result.stderr
        and "stepimp recommend" in result.stderr
    )
    for row in found["rows"]:
        assert row["schedule"] in result.stdout and (tmp_path / row["samples_file"]).exists()
        assert len(found["per_sample"][parse(row["schedule"], "2b", "1b").format()]["log_ppl"]) == 4
    assert max(len(line) for line in result.stdout.splitlines()[1:-2]) <= 104
    assert (
        len(found["pairs"]) == 10
        and " of 10 pairs of placements differ, all at 95% together" in result.stdout
    )
    assert found["path"] in result.stdout.splitlines()[-1]
    assert found["provenance"]["fingerprints"].keys() == {"models", "judge", "data"}


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
    found = document(tmp_path)
    assert found["params"]["data"] == str(tiny_text) and found["provenance"]["fingerprints"]["data"]


@pytest.mark.parametrize(
    "options, code, message",
    [
        (["--fractions", "0:2:0.1"], 2, "no range of fractions such as 0:1:0.1"),
        (["--fractions", "0:1:0"], 2, "no range of fractions"),
        (["--fractions", "half"], 2, "no range of fractions"),
        (["--light", "2b"], 2, "2b is the heavy model"),
        (["--schedule", "L2,H5"], 1, "sums to 7 steps, not to T = 8"),
        (["--schedule", "L2,X"], 1, "cannot read 'X'"),
        (["--prefix-length", 8], 1, "the whole length of 8"),
        (["--length", 33], 1, "outside 1..32"),
        (["--judge", "nowhere/at-all"], 1, "Cannot load nowhere/at-all as a judge"),
        (["--samples", 1], 2, "--samples"),
    ],
)
def test_bad_options_end_in_one_message(run, tmp_path, options, code, message):
    result = run(*options, code=code)
    assert message in " ".join(result.stderr.split()) and not result.stdout
    assert not list(tmp_path.iterdir())
