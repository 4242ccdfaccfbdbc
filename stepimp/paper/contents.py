"""What `stepimp figures` makes: the paper's 14 figures and 6 tables as its second version numbers
them, our own figures and tables beside them, and what each shows in our words.

Titles hold facts of the document in braces: the blocks of the light and of the heavy model, and
how many schedules a search ranked. `title` fills them in.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """A figure or table. title: what it shows; need: the key of `needs.NEEDS` it is made from."""

    title: str
    need: str


SEVEN = "Gen-PPL of the seven hand-crafted schedules"
QUARTER = "light model of {light} blocks, heavy of {heavy}, a quarter of the steps light"
RELATIVE_KL = (
    "Relative KL over t: KL between the heavy and each light model, less the KL between two seeds "
    "of the heavy model"
)

FIGURES = {
    "figure1": Item(f"{SEVEN}, unconditional: {QUARTER}", "unconditional"),
    "figure2": Item(
        "The {shown} best (left) and the {shown} worst (right) of the {ranked} coarse schedules of "
        "the search; light segments in red",
        "search",
    ),
    "figure3": Item(
        "How often each segment is light among the {extremes} best of the {ranked} coarse "
        "schedules of the search",
        "search",
    ),
    "figure4": Item(
        "Loss difference over t: mean absolute difference of the masked cross-entropy, each light "
        "model against the heavy one",
        "loss",
    ),
    "figure5": Item(RELATIVE_KL, "kl"),
    "figure6": Item(
        "Influence of each segment: mean gen-PPL of the coarse schedules that are light in it, "
        "less the mean of all {ranked}",
        "search",
    ),
    "figure7": Item(f"{SEVEN}, unconditional: {QUARTER}", "light_6"),
    "figure8": Item(f"{SEVEN}, unconditional: {QUARTER}", "light_8"),
    "figure9": Item(f"{SEVEN}, unconditional: {QUARTER}", "light_10"),
    "figure10": Item(
        "How often each segment is light among the {extremes} worst of the {ranked} coarse "
        "schedules of the search",
        "search",
    ),
    "figure11": Item(f"{SEVEN} on the family in the role of LM1B: {QUARTER}", "lm1b"),
    "figure12": Item(f"On the family in the role of LM1B: {RELATIVE_KL}", "kl_lm1b"),
    "figure13": Item(f"{SEVEN} after a prefix of a quarter of the length: {QUARTER}", "prefix_256"),
    "figure14": Item(f"{SEVEN} after a prefix of an eighth of the length: {QUARTER}", "prefix_128"),
}
EXTRAS = {  # beyond the paper
    "fractions": Item(
        "Sandwiches by fraction of light steps (the data of Table 2): gen-PPL, and what is saved",
        "light_fractions",
    ),
    "entropy": Item(
        "Entropy of the seven hand-crafted schedules, unconditional (the data of Table 5)",
        "unconditional",
    ),
    "predicted": Item(
        "Gen-PPL of the coarse schedules against what the curves predict of them", "search"
    ),
    "recommended": Item(
        "How much each step matters, and below it the recommended schedule beside those it was "
        "compared with, by rank",
        "recommend",
    ),
    "tradeoff": Item(
        "What a budget of light steps is predicted to cost, and the schedules it was compared with",
        "recommend",
    ),
    "masked": Item(
        "What a budget of light forward passes is predicted to cost with schedules over the number "
        "of masked positions",
        "masked",
    ),
    "plan": Item(
        "Plans of steps and models: the least nats per token for every cost in forward passes, "
        "and schedules of a fixed number of steps",
        "plan",
    ),
    "policies": Item(
        "Ways to use two models at equal mean cost: NELBO on held-out text, less that of the best "
        "schedule over steps",
        "policies",
    ),
    "profile": Item(
        "Where the sampling time goes, and what a fraction of light steps saves", "profile"
    ),
}
PAPER_TABLES = {
    "table1": Item(
        "Size of the light model in the sandwich with a quarter of the steps light", "light_sizes"
    ),
    "table2": Item("Fraction of light steps in the sandwich", "light_fractions"),
    "table3": Item(
        "Schedules after a prefix of a quarter of the length (256 of 1024 tokens in the paper)",
        "prefix_256",
    ),
    "table4": Item("Schedules on the family in the role of LM1B", "lm1b"),
    "table5": Item("Schedules of Figure 1, unconditional", "unconditional"),
    "table6": Item(
        "Schedules after a prefix of an eighth of the length (128 of 1024 tokens in the paper)",
        "prefix_128",
    ),
}
EXTRA_TABLES = {  # beyond the paper
    "policies-table": Item(
        "Ways to use two models at equal mean cost, predicted and measured", "policies"
    ),
}
DRAWN = FIGURES | EXTRAS
TABLES = PAPER_TABLES | EXTRA_TABLES
CLAIMS = "claims"
NAMES = [*DRAWN, *TABLES, CLAIMS]
OPTIONAL = {"policies"}  # needs that are shown once measured, and are not missed before


def names_for(documents: dict) -> list[str]:
    """All figures and tables but those of an optional need without a document.

    documents: {need: document or None}.
    """
    unmeasured = {need for need in OPTIONAL if not documents.get(need)}
    return [
        name for name in NAMES if name == CLAIMS or (DRAWN | TABLES)[name].need not in unmeasured
    ]


def label(name: str) -> str:
    """figure4 -> Figure 4, table1 -> Table 1, tradeoff -> Tradeoff."""
    for kind in ("figure", "table"):
        if name.removeprefix(kind).isdigit():
            return f"{kind.capitalize()} {name.removeprefix(kind)}"
    return name.capitalize()


def title(name: str, **facts) -> str:
    """`Figure 1. Gen-PPL of ...`; our own figures and tables have a title without a number."""
    item = (DRAWN | TABLES)[name]
    words = item.title.format(**facts)
    return words if name in EXTRAS | EXTRA_TABLES else f"{label(name)}. {words}"
