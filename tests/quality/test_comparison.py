"""Schedules side by side: what a comparison says, against sampling and scoring by hand."""

import numpy as np
import pytest
import torch

from stepimp.errors import StepimpError
from stepimp.quality.comparison import compare
from stepimp.quality.paired_samples import text_prefixes
from stepimp.quality.samples_file import split_prefix
from stepimp.quality.scoring import score, unigram_entropy
from stepimp.sampling import cost, sampler
from stepimp.schedules.schedule import parse
from stepimp.text.blocks import load_blocks

LENGTH = 12  # of the samples of `setting`


def test_rows_equal_what_sampling_and_scoring_by_hand_give(
    setting, members, tiny_judge, candidates
):
    rows, per_sample = compare(setting(), candidates("L2,H6", "L8"), tiny_judge, "now")
    assert [(row["name"], row["schedule"], row["light"]) for row in rows] == [
        ("given", "L2,H6", "1b"),
        ("given", "L8", "1b"),
        ("all-heavy", "H8", None),
    ]
    by_hand = {}
    for row in rows:
        schedule = parse(row["schedule"], "2b", "1b")
        tokens = sampler.sample(members.denoisers, schedule, range(6), LENGTH, seed=3).tolist()
        by_hand[row["schedule"]] = (
            score(tiny_judge, members.tokenizer.batch_decode(tokens)).log_ppl,
            unigram_entropy(tokens),
        )
    heavy, heavy_entropy = by_hand["H8"]
    for row in rows:
        log_ppl, entropy = by_hand[row["schedule"]]
        assert row["gen_ppl"] == pytest.approx(np.exp(log_ppl).mean(), rel=1e-5)
        assert row["log_ppl_diff"] == pytest.approx((log_ppl - heavy).mean(), abs=1e-5)
        assert row["entropy_nats"] == pytest.approx(entropy.mean())
        assert row["entropy_diff_nats"] == pytest.approx((entropy - heavy_entropy).mean())
        half = 2.5706 * (log_ppl - heavy).std(ddof=1) / 6**0.5  # t of 5 degrees of freedom
        assert row["log_ppl_diff_high"] - row["log_ppl_diff"] == pytest.approx(
            half, rel=1e-3, abs=1e-5
        )
    assert per_sample["1b:2,2b:6"]["log_ppl"] == pytest.approx(by_hand["L2,H6"][0], rel=1e-5)


def test_cost_by_formula_and_counted(setting, tiny_judge, candidates):
    rows, _ = compare(setting(), candidates("L2,H6", "L8"), tiny_judge, "now")
    quarter, light, heavy = rows
    assert [row["saved_flops"] for row in rows] == [0.125, 0.5, 0]
    assert heavy["saved_flops_exact"] == heavy["saved_seconds"] == heavy["log_ppl_diff_high"] == 0
    assert 0 < quarter["saved_flops_exact"] < light["saved_flops_exact"] < 1
    assert all(0 < row["seconds_low"] < row["seconds"] < row["seconds_high"] for row in rows)


def test_saved_seconds_are_of_turns_in_one_run_alone(setting, tiny_judge, monkeypatch, candidates):
    compare(setting(samples=4), candidates("L8"), tiny_judge, "first")
    rows, _ = compare(setting(samples=4), candidates("H6,L2"), tiny_judge, "second")
    assert (
        np.isnan(rows[0]["saved_seconds"])
        and rows[0]["seconds"] > 0
        and rows[1]["saved_seconds"] == 0
    )
    clock = iter(
        np.cumsum([0, 2, 0, 4] * 2)
    )  # the light schedule takes 2 seconds a turn, the heavy one 4
    monkeypatch.setattr(cost.Stopwatch, "now", lambda self: float(next(clock)))
    rows, _ = compare(setting(samples=4, seed=9), candidates("L8"), tiny_judge, "third")
    assert rows[0]["saved_seconds"] == 0.5 and (rows[0]["seconds"], rows[1]["seconds"]) == (4, 8)
    assert rows[0]["saved_seconds_low"] == rows[0]["saved_seconds_high"] == 0.5


def test_a_killed_run_continues_and_ends_the_same(
    setting, tiny_judge, tmp_path, monkeypatch, drawn, candidates
):
    sample = sampler.sample

    def killed(denoisers, schedule, indices, *arguments, **options):
        if schedule.steps > 1 and len(drawn) == 3:
            raise KeyboardInterrupt
        return sample(denoisers, schedule, indices, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(sampler, "sample", killed)
        with pytest.raises(KeyboardInterrupt):
            compare(setting(), candidates("L8"), tiny_judge, "first")
    drawn.clear()
    rows, per_sample = compare(setting(), candidates("L8"), tiny_judge, "second")
    assert len(drawn) == 3
    whole, whole_per_sample = compare(
        setting(out=str(tmp_path / "whole")), candidates("L8"), tiny_judge, "third"
    )
    assert per_sample == whole_per_sample

    def timeless(row):
        return {key: value for key, value in row.items() if "seconds" not in key}

    assert list(map(timeless, rows)) == list(map(timeless, whole))


def test_prefixes_are_held_out_text_and_condition_without_being_scored(
    setting, members, tiny_text, tiny_judge, drawn, candidates
):
    prefixes, text = text_prefixes(str(tiny_text), members, 6, LENGTH, 4, seed=3)
    held_out = (
        load_blocks(str(tiny_text), members.tokenizer, LENGTH, "heldout").tokens[:, :4].tolist()
    )
    assert prefixes.shape == (6, 4) and all(row in held_out for row in prefixes.tolist())
    assert len({tuple(row) for row in prefixes.tolist()}) > 1
    assert torch.equal(
        text_prefixes(str(tiny_text), members, 3, LENGTH, 4, seed=3)[0], prefixes[:3]
    )
    rows, per_sample = compare(
        setting(prefixes=prefixes, text=text), candidates("L8"), tiny_judge, "now"
    )
    tokens = sampler.sample(
        members.denoisers, parse("L8", "2b", "1b"), range(6), LENGTH, seed=3, prefix=prefixes
    )
    assert tokens[:, :4].tolist() == prefixes.tolist()
    given, whole = (members.tokenizer.batch_decode(row) for row in (prefixes, tokens))
    pairs = [split_prefix(*pair) for pair in zip(whole, given)]
    expected = score(tiny_judge, [text for _, text in pairs], [prefix for prefix, _ in pairs])
    assert per_sample["1b:8"]["log_ppl"] == pytest.approx(expected.log_ppl.tolist(), rel=1e-5)
    assert expected.tokens.sum() < score(tiny_judge, whole).tokens.sum()
    drawn.clear()
    compare(setting(), candidates("L8"), tiny_judge, "later")
    assert len(drawn) == 6  # samples without the prefixes are others


def test_too_little_text_for_the_prefixes(members, tiny_text):
    with pytest.raises(
        StepimpError, match="held-out sequences of 12 tokens, and 99999 prefixes are needed"
    ):
        text_prefixes(str(tiny_text), members, 99999, LENGTH, 4, seed=3)
