"""The paper's five claims, each tested against the results by intervals: reproduced, not
reproduced or undecided.

A claim is several statements about several results. It is reproduced where every statement is
resolved as claimed, not reproduced where one is resolved the other way round, and undecided in
between or where results are missing. All statements of a claim hold jointly at 95% (Bonferroni),
except those about curves, whose bands are 95% point by point.
"""

import math
from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple, TypedDict

import numpy as np

from stepimp.intervals import Estimate, bootstrap, ratio, resampled_means
from stepimp.paper.describe import REFERENCE, is_reference
from stepimp.paper.lacks import lacks
from stepimp.paper.numbers import paper
from stepimp.paper.peak import NAMES, by_model, importance, peak
from stepimp.paper.recipes import made_by
from stepimp.paper.rows import hand_crafted, schedule_of
from stepimp.paper.tables import Table

EDGES, INNER = ("sandwich", "1st quarter", "4th quarter"), ("2nd quarter", "3rd quarter")
# (the better, the worse): these must be resolved
EDGES_BEST = [(better, worse) for better in EDGES for worse in INNER]
SANDWICH_BEST = [*EDGES_BEST, ("sandwich", "4th quarter")]
# these must not be resolved the other way round: the paper's own numbers do not resolve them
CLOSE = [("sandwich", "1st quarter"), ("1st quarter", "4th quarter")]
SETTINGS = {
    "unconditional": "unconditional",
    "prefix_256": "prefix of a quarter",
    "prefix_128": "prefix of an eighth",
    "lm1b": "LM1B role",
}
# where the ranking is claimed to be the same
REPEATED = [need for need in SETTINGS if need != "unconditional"]
# nats
ENTROPY_LIMITS = {"unconditional": 0.03, "prefix_256": 0.03, "prefix_128": 0.03, "lm1b": 0.09}
# a segment of the search is in the middle if its centre is no farther than this from t = 0.5
MIDDLE = 0.25


class Evidence(NamedTuple):
    """What one document says of a claim. reason: one clause with the numbers."""

    supported: bool
    contradicted: bool
    reason: str


class Decision(TypedDict):
    """verdict: reproduced, not reproduced or undecided; needs: the commands that would supply
    missing results, None where there are none.
    """

    verdict: str
    reason: str
    needs: str | None


class Verdict(Decision):
    """A decision on one of the paper's claims. claim: its text."""

    claim: str


Test = Callable[[dict], Evidence]


def claims(documents: dict[str, dict | None]) -> list[Verdict]:
    """The verdict on each of the paper's claims. documents: by need, as `find_documents` does."""
    checks = (peak_claim, order_claim, search_claim, settings_claim, entropy_claim)
    return [
        Verdict(claim=claim, **check(documents)) for claim, check in zip(paper()["claims"], checks)
    ]


def as_table(verdicts: list[Verdict], documents: dict[str, dict | None]) -> Table:
    """documents: those the verdicts are from."""
    rows = [
        [str(number), verdict["claim"], verdict["verdict"], verdict["reason"]]
        for number, verdict in enumerate(verdicts, 1)
    ]
    columns = ["claim", "what the paper says", "verdict", "by our results"]
    shipped = [document for document in documents.values() if document and is_reference(document)]
    measured_here = [
        document for document in documents.values() if document not in (None, *shipped)
    ]
    note = "Decided by 95% intervals."
    if shipped:
        note += f" {'Part' if measured_here else 'All'} of the results: {REFERENCE[0].lower()}"
        note += REFERENCE[1:].strip()
    return Table("The paper's claims", columns, rows, note)


def decide(documents: dict, tests: dict[str, Test]) -> Decision:
    """tests: by need."""
    evidence = [test(documents[need]) for need, test in tests.items() if documents.get(need)]
    absent = [need for need in tests if not documents.get(need)]
    missing = [
        made_by(need, documents=documents) for need in absent if not lacks(need, None, documents)
    ]
    if any(part.contradicted for part in evidence):
        verdict = "not reproduced"
    elif absent or not all(part.supported for part in evidence):
        verdict = "undecided"
    else:
        verdict = "reproduced"
    reason = "; ".join(part.reason for part in evidence) or "No results yet"
    if absent and evidence:
        reason += f"; {len(absent)} of {len(tests)} results are not there yet"
    needs = ", then ".join(dict.fromkeys(missing)) if verdict == "undecided" else ""
    return {"verdict": verdict, "reason": reason + ".", "needs": needs or None}


def peak_claim(documents: dict) -> Decision:
    """Claim 1, by the shallowest light model, which differs most."""
    return decide(documents, {"loss": peaks_in_the_middle, "kl": peaks_in_the_middle})


def peaks_in_the_middle(document: dict) -> Evidence:
    """Whether the shallowest light model's importance peaks in the paper's middle."""
    rows, column = document["rows"], importance(document["rows"])
    if column == "kl_nats":
        reason = "no baseline was measured, and without one there is no relative KL"
        return Evidence(False, False, reason)
    model = min(document["params"]["lights"], key=document["blocks"].get)
    curve = by_model(rows)[model]
    top = peak(curve, column)
    by_time = {row["t"]: row for row in curve if row.get(column) is not None}
    first, last, highest = (
        f"{banded(by_time[t], column)} at t = {t:.3g}" for t in (max(by_time), min(by_time), top.t)
    )
    reason = f"the {NAMES[column]} of {model} is {first}, {last} and at most {highest}"
    return Evidence(top.verdict == "middle", top.contradicted, reason)


def banded(row: dict, column: str) -> str:
    """`with_brackets` of a column."""
    return with_brackets(Estimate.of(row, column))


def with_brackets(estimate: Estimate, digits: int = 3) -> str:
    """`0.081 [0.076, 0.085]`, or the value alone where there is no interval."""
    interval = "" if math.isnan(estimate.half) else f" {estimate.brackets(digits)}"
    return f"{estimate.value:.{digits}f}{interval}"


def per_sample(document: dict, statistic: str) -> dict[str, np.ndarray]:
    """{name: [samples]} log_ppl or entropy_nats of the hand-crafted schedules."""
    samples = document["per_sample"]
    return {
        name: np.array(samples[schedule_of(row, document).format()][statistic])
        for name, row in hand_crafted(document).items()
    }


def difference(a: np.ndarray, b: np.ndarray, jointly: int) -> Estimate:
    """Mean of a - b over paired samples; jointly: intervals that must hold jointly at 95%."""
    return ratio(a - b, jointly=jointly)


def in_order(document: dict, pairs, close=(), statements: int | None = None) -> Evidence:
    """Whether the better of each pair has the lower log-PPL. close: pairs that need not be
    resolved; statements: intervals that must hold jointly, by default these.
    """
    log_ppl, all_pairs = per_sample(document, "log_ppl"), [*pairs, *close]
    differences = {
        (better, worse): difference(log_ppl[worse], log_ppl[better], statements or len(all_pairs))
        for better, worse in all_pairs
    }
    as_claimed = [pair for pair in pairs if differences[pair].low > 0]
    reversed_pairs = [pair for pair in all_pairs if differences[pair].high < 0]
    least = min(reversed_pairs or pairs, key=lambda pair: differences[pair].value)
    better, worse = least
    reason = (
        f"{len(as_claimed)} of {len(pairs)} differences are resolved as claimed and "
        f"{len(reversed_pairs)} the other way round over {len(log_ppl[better])} samples, the least "
        f"being {worse} minus {better}, {with_brackets(differences[least])} nats per token"
    )
    return Evidence(len(as_claimed) == len(pairs), bool(reversed_pairs), reason)


def order_claim(documents: dict) -> Decision:
    """Claim 2: both inner quarters are worse than all others, and nothing is better than the
    sandwich.
    """
    tests = {"unconditional": lambda document: in_order(document, SANDWICH_BEST, CLOSE)}
    return decide(documents, tests)


def settings_claim(documents: dict) -> Decision:
    """Claim 4, as far as the paper's own numbers support it: with prefixes and on LM1B the inner
    quarters are worst.
    """

    def test(setting: str) -> Test:
        def in_setting(document: dict) -> Evidence:
            statements = len(EDGES_BEST) * len(REPEATED)
            evidence = in_order(document, EDGES_BEST, statements=statements)
            return evidence._replace(reason=f"{setting}: {evidence.reason}")

        return in_setting

    return decide(documents, {need: test(SETTINGS[need]) for need in REPEATED})


def entropy_claim(documents: dict) -> Decision:
    """Claim 5: no two of the seven schedules differ by more than the limit."""

    def test(need: str, limit: float) -> Test:
        def within(document: dict) -> Evidence:
            entropy = per_sample(document, "entropy_nats")
            pairs = list(combinations(entropy, 2))
            statements = len(pairs) * len(ENTROPY_LIMITS)
            differences = {(a, b): difference(entropy[a], entropy[b], statements) for a, b in pairs}
            inside = all(-limit <= it.low and it.high <= limit for it in differences.values())
            outside = any(it.low > limit or it.high < -limit for it in differences.values())
            widest = max(differences, key=lambda pair: abs(differences[pair].value))
            reason = (
                f"{SETTINGS[need]}: {widest[0]} and {widest[1]} differ most, by "
                f"{with_brackets(differences[widest])} nats where the claim allows {limit:g}"
            )
            return Evidence(inside, outside, reason)

        return within

    return decide(documents, {need: test(need, limit) for need, limit in ENTROPY_LIMITS.items()})


def search_claim(documents: dict) -> Decision:
    """Claim 3: the best schedules are light more often at the ends than in the middle, the worst
    less often.
    """
    return decide(documents, {"search": light_at_the_ends})


def light_at_the_ends(document: dict) -> Evidence:
    """Whether the best schedules are light more often at the ends, and the worst less often."""
    top, bottom = light_shares(document)
    centres = np.array([(row["t_from"] + row["t_to"]) / 2 for row in document["influence"]])
    ends = abs(centres - 0.5) > MIDDLE + 1e-9
    if ends.all() or not ends.any():
        return Evidence(False, False, f"a search of {len(ends)} segments has no ends and a middle")
    best, worst = (
        both_at_95(shares[ends].mean(0) - shares[~ends].mean(0)) for shares in (top, -bottom)
    )
    extremes = document["influence"][0]["extremes"]
    reason = (
        "the share of light segments at the ends minus that in the middle is "
        f"{with_brackets(best, 2)} in the best {extremes}, and that in the middle minus that at "
        f"the ends {with_brackets(worst, 2)} in the worst {extremes}, over {samples_of(document)} "
        "samples"
    )
    return Evidence(min(best.low, worst.low) > 0, min(best.high, worst.high) < 0, reason)


def both_at_95(means: np.ndarray) -> Estimate:
    """One of two statements that hold jointly at 95%. means: [1 + R], measured and resampled."""
    low, high = np.percentile(means[1:], [1.25, 98.75])
    return Estimate(float(means[0]), float(low), float(high))


def samples_of(document: dict) -> int:
    """Samples that all schedules of a search have."""
    return min(map(len, document["log_ppl"].values()))


def light_rows(document: dict, column: str) -> list[dict]:
    """The `influence` rows of a search with a 95% band for `light_in_top` or `light_in_bottom`."""
    shares = dict(zip(("light_in_top", "light_in_bottom"), light_shares(document)))[column]
    return [
        row | bootstrap(share).columns(column) | {column: row[column]}
        for row, share in zip(document["influence"], shares)
    ]


def light_shares(document: dict) -> tuple[np.ndarray, np.ndarray]:
    """How often the best and the worst schedules of a search are light in each segment,
    [segments, 1 + R] each.

    Measured and on resamples of the samples, which are ranked anew each time.
    """
    names, shared = list(document["log_ppl"]), samples_of(document)
    ppl = np.exp([document["log_ppl"][name][:shared] for name in names])
    order = resampled_means(ppl, document["params"]["seed"]).argsort(axis=0, kind="stable")
    light = np.array([[letter == "L" for letter in name] for name in names])
    extremes = document["influence"][0]["extremes"]
    return light[order[:extremes]].mean(0).T, light[order[len(names) - extremes :]].mean(0).T
