"""Claims on results whose truth is chosen: reproduced, turned round, and too noisy to tell."""

import math
import re

import numpy as np
import pytest
from by_hand import AS_PUBLISHED, BLOCKS, comparison, curve_rows, hill, lm1b, search

from stepimp.paper import claims
from stepimp.paper.claims import claims as judged
from stepimp.paper.describe import reference_folder
from stepimp.paper.numbers import paper

OPPOSITE = {name: -effect for name, effect in AS_PUBLISHED.items()}
AT_THE_ENDS, IN_THE_MIDDLE = [0, 0.2, 0.5, 0.5, 0.2, 0], [0.5, 0.2, 0, 0, 0.2, 0.5]


def curves(shape, column, band=0.05, lights=("4b",)):
    times = (0.1, 0.3, 0.5, 0.7, 1.0)
    rows = [row for model in lights for row in curve_rows([column], shape, [model], times, band)]
    return {"params": {"lights": list(lights)}, "blocks": BLOCKS, "rows": rows}


def curve_documents(shape, **options):
    return {
        "loss": curves(shape, "loss_abs_diff_nats", **options),
        "kl": curves(shape, "relative_kl_nats", **options),
    }


def settings(effects, **options):
    return {
        "unconditional": comparison(effects, **options),
        "prefix_256": comparison(effects, prefix_length=32, **options),
        "prefix_128": comparison(effects, prefix_length=16, **options),
        "lm1b": lm1b(effects, **options),
    }


AS_CLAIMED = curve_documents(hill) | settings(AS_PUBLISHED) | {"search": search(AT_THE_ENDS)}


def verdicts(documents):
    return [verdict["verdict"] for verdict in judged(documents)]


def test_results_as_the_paper_has_them_reproduce_every_claim():
    all_five = judged(AS_CLAIMED)
    assert [verdict["verdict"] for verdict in all_five] == ["reproduced"] * 5
    assert [verdict["claim"] for verdict in all_five] == paper()["claims"]
    for verdict in all_five:
        assert verdict.keys() == {"claim", "verdict", "reason", "needs"}
        assert verdict["needs"] is None
        assert re.search(r"\d.*\.$", verdict["reason"])


@pytest.mark.parametrize(
    ("number", "turned"),
    [
        (1, curve_documents(lambda t: t)),
        (1, {"kl": curves(lambda t: -t, "relative_kl_nats")}),
        (2, settings(OPPOSITE)),
        (3, {"search": search(IN_THE_MIDDLE)}),
        (4, {"lm1b": lm1b(OPPOSITE)}),
        (5, {"unconditional": comparison(entropy={"sandwich": 0.05})}),
        (5, {"lm1b": lm1b(entropy={"all-light": -0.1})}),
    ],
)
def test_results_that_are_the_other_way_round_do_not(number, turned):
    assert verdicts(AS_CLAIMED | turned)[number - 1] == "not reproduced"


@pytest.mark.parametrize(
    ("number", "noisy"),
    [
        (1, curve_documents(hill, band=2)),
        (1, curve_documents(lambda t: 0.0)),
        (2, settings(AS_PUBLISHED, noise=1.0)),
        (3, {"search": search([0] * 6)}),
        (4, {"prefix_128": comparison(noise=1.0)}),
        (5, {"unconditional": comparison(noise=0.1)}),
        (2, settings(AS_PUBLISHED, samples=1)),
    ],
)
def test_results_that_do_not_tell_are_undecided(number, noisy):
    verdict = judged(AS_CLAIMED | noisy)[number - 1]
    assert verdict["verdict"] == "undecided" and verdict["needs"] is None


@pytest.mark.filterwarnings("error")
def test_a_search_without_a_middle_is_undecided_and_says_why():
    coarse = search([0.1, 0.0], segments=2, light=1, extremes=1)
    verdict = judged(AS_CLAIMED | {"search": coarse})[2]
    assert verdict["verdict"] == "undecided"
    assert "a search of 2 segments has no ends and a middle" in verdict["reason"]


def test_without_results_all_are_undecided_and_say_what_to_run():
    assert verdicts({}) == ["undecided"] * 5
    for verdict in judged({}):
        assert "stepimp" in verdict["needs"] and verdict["reason"] == "No results yet."


def test_part_of_the_results_can_refute_and_cannot_reproduce():
    part = judged({"loss": AS_CLAIMED["loss"]})[0]
    assert (
        part["verdict"] == "undecided"
        and part["needs"].startswith("stepimp kl")
        and "1 of 2" in part["reason"]
    )
    assert (
        judged({"loss": curves(lambda t: t, "loss_abs_diff_nats")})[0]["verdict"]
        == "not reproduced"
    )
    assert judged({"lm1b": lm1b(OPPOSITE)})[3]["verdict"] == "not reproduced"


def test_a_peak_a_little_aside_is_no_refutation():
    aside = curve_documents(lambda t: hill(t) + (0.25 if t == 0.7 else 0))
    assert verdicts(AS_CLAIMED | aside)[0] == "undecided"


def test_a_raw_kl_decides_nothing_about_the_relative_one():
    raw = {"kl": curves(lambda t: -t, "kl_nats")}
    assert (
        verdicts(AS_CLAIMED | raw)[0] == "undecided"
        and "no baseline" in judged(AS_CLAIMED | raw)[0]["reason"]
    )


def test_the_first_claim_is_decided_by_the_lightest_model():
    both = curve_documents(hill, lights=("8b", "4b"))
    for document in both.values():
        for row in document["rows"]:
            if row["model"] == "8b":
                column = next(name for name in row if name.endswith("nats"))
                row |= {
                    column: row["t"],
                    column + "_low": row["t"] - 0.05,
                    column + "_high": row["t"] + 0.05,
                }
    assert verdicts(AS_CLAIMED | both)[0] == "reproduced" and "of 4b" in judged(both)[0]["reason"]


def test_a_sandwich_that_is_beaten_by_the_first_quarter_refutes_and_one_that_ties_does_not():
    beaten = AS_PUBLISHED | {"1st quarter": 0.02, "sandwich": 0.03}
    assert verdicts(settings(beaten))[1] == "not reproduced"
    assert (
        verdicts(settings(AS_PUBLISHED | {"1st quarter": 0.03, "sandwich": 0.03}))[1]
        == "reproduced"
    )


def test_entropy_is_held_between_all_schedules_and_not_against_all_heavy_alone():
    apart = comparison(
        entropy={"sandwich": 0.02, "1st quarter": -0.02}
    )  # each within 0.03 of all-heavy
    assert verdicts({"unconditional": apart})[4] == "not reproduced"
    assert "sandwich" in judged({"unconditional": apart})[4]["reason"]


def test_intervals_are_wider_the_more_statements_they_bear():
    a, b = np.random.default_rng(0).standard_normal((2, 30))
    alone, jointly = claims.difference(a, b, 1), claims.difference(a, b, 20)
    assert (
        alone.value == jointly.value == pytest.approx((a - b).mean())
        and jointly.low < alone.low < alone.value < alone.high < jointly.high
    )
    half = 2.0452 * (a - b).std(ddof=1) / math.sqrt(30)  # Student's t with 29 degrees of freedom
    assert alone.high - alone.value == pytest.approx(half, rel=1e-4)


def test_together_the_statements_hold_at_95_percent():
    draw, kept = np.random.default_rng(1), 0
    for _ in range(300):
        samples = draw.standard_normal((8, 12))
        ends = [claims.difference(samples[k], samples[0], 7) for k in range(1, 8)]
        kept += all(low <= 0 <= high for _, low, high in ends)
    assert kept / 300 > 0.93


def test_shares_of_light_segments_are_those_of_the_ranking_and_their_resamples_spread():
    own = search([0.1, 0.1, 0.4, 0.4, 0.2, 0.1], noise=0.3, samples=8)
    top, bottom = claims.light_shares(own)
    assert top[:, 0].tolist() == [row["light_in_top"] for row in own["influence"]]
    assert bottom[:, 0].tolist() == [row["light_in_bottom"] for row in own["influence"]]
    assert top.sum(0) == pytest.approx(np.full(top.shape[1], 2)), "two light segments each"
    assert top.std(axis=1).max() > 0


def test_a_race_leaves_the_samples_that_all_schedules_have():
    own = search(AT_THE_ENDS)
    worst = own["rows"][-1]["segments"]
    own["log_ppl"][worst] = own["log_ppl"][worst][:8]
    assert claims.samples_of(own) == 8 and "over 8 samples" in judged({"search": own})[2]["reason"]


def test_the_verdicts_as_a_table():
    table = claims.as_table(judged(AS_CLAIMED), AS_CLAIMED)
    assert [row[0] for row in table.rows] == ["1", "2", "3", "4", "5"]
    assert {row[2] for row in table.rows} == {"reproduced"}


def test_the_table_says_what_is_from_the_shipped_run():
    documents = {"kl": None, "search": search(AT_THE_ENDS)}
    assert "reference" not in claims.as_table(judged(documents), documents).note
    shipped = documents["search"] | {"path": str(reference_folder() / "search-0.json")}
    note = claims.as_table(judged(documents), documents | {"search": shipped}).note
    assert "All of the results: shipped reference run" in note
    note = claims.as_table(judged(documents), {"kl": documents["search"], "search": shipped}).note
    assert "Part of the results: shipped reference run" in note
