"""The paper's five claims, each held against the results by intervals: reproduced, not reproduced
or undecided.

A claim is several statements on several results. It is reproduced where every one of them is
resolved as claimed, not reproduced where one is resolved the other way round, and undecided in
between or where results are missing. All statements of a claim hold together at 95% (Bonferroni),
except those on curves, whose bands are 95% point by point."""

import math
from itertools import combinations

import numpy as np

from stepimp.intervals import Estimate, bootstrap, ratio, resampled_means
from stepimp.paper.needs import hand_crafted, made_by, plan
from stepimp.paper.numbers import paper
from stepimp.paper.peak import NAMES, by_model, importance, peak
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
REPEATED = [
    need for need in SETTINGS if need != "unconditional"
]  # where the ranking is to be the same
ENTROPY_LIMITS = {
    "unconditional": 0.03,
    "prefix_256": 0.03,
    "prefix_128": 0.03,
    "lm1b": 0.09,
}  # nats
# of a search's segments those are in the middle whose centre is no farther than this from t = 0.5
MIDDLE = 0.25


def claims(documents: dict) -> list[dict]:
    """For each claim its text, verdict, the reason in one sentence, and the commands that are
    needed to decide it.
    """
    checks = (peak_claim, order_claim, search_claim, settings_claim, entropy_claim)
    return [{"claim": claim, **check(documents)} for claim, check in zip(paper()["claims"], checks)]


def as_table(found: list[dict]) -> Table:
    """The verdicts as a table."""
    rows = [[str(k), one["claim"], one["verdict"], one["reason"]] for k, one in enumerate(found, 1)]
    columns = ["claim", "what the paper says", "verdict", "by our results"]
    return Table("The paper's claims", columns, rows, "Decided by 95% intervals.")


def decide(documents: dict, parts: dict) -> dict:
    """parts: {need: test}, where test(document) gives (supported, contradicted, what was found)."""
    tested = [test(documents[need]) for need, test in parts.items() if documents.get(need)]
    missing = [made_by(need, documents=documents) for need in parts if not documents.get(need)]
    if any(contradicted for _, contradicted, _ in tested):
        verdict = "not reproduced"
    else:
        verdict = (
            "undecided"
            if missing or not all(supported for supported, _, _ in tested)
            else "reproduced"
        )
    reason = "; ".join(found for _, _, found in tested) or "No results yet"
    if missing and tested:
        reason += f"; {len(missing)} of {len(parts)} results are not there yet"
    needed = ", then ".join(missing) if verdict == "undecided" else ""
    return {"verdict": verdict, "reason": reason + ".", "needs": needed or None}


def peak_claim(documents: dict) -> dict:
    """Claim 1, by the light model with the fewest blocks, which differs most."""
    return decide(documents, {"loss": peaks_in_the_middle, "kl": peaks_in_the_middle})


def peaks_in_the_middle(document: dict):
    rows, column = document["rows"], importance(document["rows"])
    if column == "kl_nats":
        return False, False, "no baseline was measured, and without one there is no relative KL"
    model = min(document["params"]["lights"], key=document["blocks"].get)
    own = by_model(rows)[model]
    found, known = peak(own, column), {row["t"]: row for row in own if row.get(column) is not None}
    first, last, top = (
        f"{banded(known[t], column)} at t = {t:.3g}" for t in (max(known), min(known), found.t)
    )
    said = f"the {NAMES[column]} of {model} is {first}, {last} and at most {top}"
    return found.verdict == "middle", found.contradicted, said


def banded(row: dict, column: str) -> str:
    estimate = Estimate.of(row, column)
    interval = "" if math.isnan(estimate.half) else f" {estimate.brackets(3)}"
    return f"{estimate.value:.3f}{interval}"


def per_sample(document: dict, what: str) -> dict[str, np.ndarray]:
    """{name: [samples]} log_ppl or entropy_nats of the hand-crafted schedules."""
    each = document["per_sample"]
    return {
        name: np.array(each[plan(row, document).format()][what])
        for name, row in hand_crafted(document).items()
    }


def difference(a: np.ndarray, b: np.ndarray, jointly: int) -> Estimate:
    """Mean of a - b over paired samples; jointly: intervals that must hold jointly at 95%."""
    return ratio(a - b, jointly=jointly)


def in_order(document: dict, pairs, close=(), statements=None):
    """Whether the better of each pair has the lower log-PPL. close: pairs that need not be
    resolved.
    """
    log_ppl, every = per_sample(document, "log_ppl"), [*pairs, *close]
    found = {
        pair: difference(log_ppl[pair[1]], log_ppl[pair[0]], statements or len(every))
        for pair in every
    }
    as_claimed = [pair for pair in pairs if found[pair][1] > 0]
    reversed_pairs = [pair for pair in every if found[pair][2] < 0]
    better, worse = min(reversed_pairs or pairs, key=lambda pair: found[pair][0])
    mean, low, high = found[better, worse]
    said = (
        f"{len(as_claimed)} of {len(pairs)} differences are resolved as claimed and {len(reversed_pairs)} the other "
        f"way round over {len(log_ppl[better])} samples, the least being {worse} minus {better}, {mean:.3f} "
        f"[{low:.3f}, {high:.3f}] nats per token"
    )
    return len(as_claimed) == len(pairs), bool(reversed_pairs), said


def order_claim(documents: dict) -> dict:
    """Claim 2: both inner quarters are worse than all others, and nothing is better than the
    sandwich.
    """
    return decide(
        documents, {"unconditional": lambda document: in_order(document, SANDWICH_BEST, CLOSE)}
    )


def settings_claim(documents: dict) -> dict:
    """Claim 4, as far as the paper's own numbers bear it: with prefixes and on LM1B the inner
    quarters are worst.
    """

    def test(name):
        def in_setting(document):
            *verdict, said = in_order(
                document, EDGES_BEST, statements=len(EDGES_BEST) * len(REPEATED)
            )
            return *verdict, f"{name}: {said}"

        return in_setting

    return decide(documents, {need: test(SETTINGS[need]) for need in REPEATED})


def entropy_claim(documents: dict) -> dict:
    """Claim 5: no two of the seven schedules differ by more than the limit."""

    def test(need, limit):
        def within(document):
            entropy = per_sample(document, "entropy_nats")
            pairs = list(combinations(entropy, 2))
            found = {
                (a, b): difference(entropy[a], entropy[b], len(pairs) * len(ENTROPY_LIMITS))
                for a, b in pairs
            }
            inside = all(-limit <= low and high <= limit for _, low, high in found.values())
            outside = any(low > limit or high < -limit for _, low, high in found.values())
            widest = max(found, key=lambda pair: abs(found[pair][0]))
            mean, low, high = found[widest]
            said = (
                f"{SETTINGS[need]}: {widest[0]} and {widest[1]} differ most, by {mean:.3f} [{low:.3f}, "
                f"{high:.3f}] nats where the claim allows {limit:g}"
            )
            return inside, outside, said

        return within

    return decide(documents, {need: test(need, limit) for need, limit in ENTROPY_LIMITS.items()})


def search_claim(documents: dict) -> dict:
    """Claim 3: the best schedules are light more often at the ends than in the middle, the worst
    less often.
    """
    return decide(documents, {"search": light_at_the_ends})


def light_at_the_ends(document: dict):
    top, bottom = light_shares(document)
    centres = np.array([(row["t_from"] + row["t_to"]) / 2 for row in document["influence"]])
    ends = abs(centres - 0.5) > MIDDLE + 1e-9
    found = [both_at_95(shares[ends].mean(0) - shares[~ends].mean(0)) for shares in (top, -bottom)]
    extremes = document["influence"][0]["extremes"]
    (best, best_low, best_high), (worst, worst_low, worst_high) = found
    said = (
        f"the share of light segments at the ends minus that in the middle is {best:.2f} [{best_low:.2f}, "
        f"{best_high:.2f}] in the best {extremes}, and that in the middle minus that at the ends {worst:.2f} "
        f"[{worst_low:.2f}, {worst_high:.2f}] in the worst {extremes}, over {samples_of(document)} "
        "samples"
    )
    return min(best_low, worst_low) > 0, min(best_high, worst_high) < 0, said


def both_at_95(means: np.ndarray) -> tuple[float, float, float]:
    """[1 + R] measured and on resamples -> the mean and the ends of its percentile band, one of two
    statements.
    """
    low, high = np.percentile(means[1:], [1.25, 98.75])
    return float(means[0]), float(low), float(high)


def samples_of(document: dict) -> int:
    """Samples that all schedules of a search have."""
    return min(map(len, document["log_ppl"].values()))


def light_rows(document: dict) -> dict[str, list[dict]]:
    """The `influence` rows of a search with a 95% band, for "light_in_top" and for
    "light_in_bottom".
    """
    columns = zip(("light_in_top", "light_in_bottom"), light_shares(document))
    return {
        name: [
            row | bootstrap(share).columns(name) | {name: row[name]}
            for row, share in zip(document["influence"], shares)
        ]
        for name, shares in columns
    }


def light_shares(document: dict) -> tuple[np.ndarray, np.ndarray]:
    """How often the best and the worst schedules of a search are light in each segment, [segments,
    1 + R] each.

    Measured and on resamples of the samples, which are ranked anew each time.
    """
    names, shared = list(document["log_ppl"]), samples_of(document)
    ppl = np.exp([document["log_ppl"][name][:shared] for name in names])
    order = resampled_means(ppl, document["params"]["seed"]).argsort(axis=0, kind="stable")
    light = np.array([[letter == "L" for letter in name] for name in names])
    extremes = document["influence"][0]["extremes"]
    return light[order[:extremes]].mean(0).T, light[order[len(names) - extremes :]].mean(0).T
