"""Figures of schedules side by side: 1, 7, 8, 9, 11, 13, 14, and our own of fractions and
entropy.
"""

from collections.abc import Callable

from matplotlib.figure import Figure

from stepimp.intervals import Estimate
from stepimp.paper.contents import title
from stepimp.paper.describe import in_the_paper, sampled
from stepimp.paper.numbers import paper
from stepimp.paper.rows import (
    HAND_CRAFTED,
    by_fraction,
    hand_crafted,
    light_of_depth,
    lightest,
    schedule_of,
)
from stepimp.paper.tables import log_change, log_change_half

from . import bars, savings
from .bars import Bar
from .notes import annotate, with_half
from .style import WIDE, colours

GEN_PPL = "gen-PPL"
CHANGE = "change in log-PPL against all-heavy (nats per token)"
KEY = (
    "Left: mean gen-PPL over samples. Right: mean of the paired differences in log-PPL. "
    "Lines: 95% intervals over samples."
)
PAPER_KEY = (
    "Diamonds and last column: as the paper prints them, of other models, on other text and by "
    "another judge, so that their order compares and their values do not."
)

Printed = dict[str, dict]  # {name: row of one of the paper's tables}


def segments(row: dict, document: dict, light: str) -> str:
    """A schedule as the paper labels its bars: (L125, H750, L125)."""
    text = schedule_of(row, document).format(document["params"]["heavy"], light)
    return f"({text.replace(',', ', ')})"


def of_table(key: str) -> Printed:
    """The paper's seven hand-crafted schedules from one of its tables."""
    return dict(zip(HAND_CRAFTED, paper()[key]["rows"]))


def of_size(paper_light: str) -> Printed:
    """What the paper prints of a light model's schedules: the sandwich in its Table 1."""
    rows = {row["light"]: row for row in paper()["table1_light_size"]["rows"]}
    return {"sandwich": rows[paper_light], "all-heavy": rows["12b"]}


def printed_change(row: dict | None, heavy: dict) -> Estimate | None:
    """The paper's gen-PPL as a change in log-PPL, with the interval that its printed ones make."""
    if row is None:
        return None
    change, half = log_change(row, heavy), log_change_half(row, heavy)
    return Estimate(change) if half is None else Estimate(change, change - half, change + half)


def printed_ppl(row: dict | None) -> str:
    """The paper's gen-PPL with its interval, as it prints them."""
    if row is None:
        return ""
    return f"{row['gen_ppl']:.1f}" + (f" ±{row['ci']:.1f}" if "ci" in row else "")


def gen_ppl_and_change(figure: Figure, bar_rows: dict[str, dict], tint: dict, printed: list):
    """Two panels: gen-PPL, and the paired change in log-PPL beside the paper's.

    bar_rows: {label: row of `compare`}; tint: {light model or None: colour}; printed: a row of a
    table of the paper, or None, for each; all-heavy's is last.
    """
    left, right = figure.subplots(1, 2, width_ratios=[1.2, 1])

    def bars_of(column: str) -> list[Bar]:
        return [
            Bar(label, Estimate.of(row, column), tint[row["light"]])
            for label, row in bar_rows.items()
        ]

    heavy = next(row for row in reversed(printed) if row)
    bars.draw(left, bars_of("gen_ppl"), GEN_PPL)
    bars.margin(left, [with_half(bar.estimate) for bar in bars_of("gen_ppl")], GEN_PPL)
    changes = [printed_change(row, heavy) for row in printed]
    bars.draw_changes(right, bars_of("log_ppl_diff"), changes, CHANGE)
    bars.margin(right, [printed_ppl(row) for row in printed], "paper's gen-PPL")
    right.set_yticklabels([])
    right.set_xlabel("change in log-PPL (nats per token)")
    return left, right


def seven(
    name: str, printed: Callable[[], Printed], paper_blocks: int | None = None
) -> Callable[[dict], Figure]:
    """A function document -> Figure of the seven hand-crafted schedules.

    paper_blocks: depth of the paper's light model, by default the shallowest.
    """

    def build(document: dict) -> Figure:
        light = light_of_depth(document, paper_blocks) if paper_blocks else lightest(document)
        if light is None:
            raise LookupError(f"no light model of {paper_blocks} of 12 blocks")
        heavy, blocks = document["params"]["heavy"], document["blocks"]
        rows, published = hand_crafted(document, light), printed()
        tint = colours(document)
        figure = Figure(figsize=(WIDE, 3.25))
        gen_ppl_and_change(
            figure,
            {segments(row, document, light): row for row in rows.values()},
            {light: tint[light], None: tint[heavy]},
            [published.get(schedule) for schedule in rows],
        )
        saved = rows["sandwich"]["saved_flops"]
        annotate(
            figure,
            title(name, light=blocks[light], heavy=blocks[heavy]),
            f"{sampled(document, light)} L: {light}, H: {heavy}, segments from the start of "
            f"sampling; a quarter of light steps saves {saved:.1%} of the blocks' FLOPs.",
            KEY,
            f"{PAPER_KEY} {in_the_paper(document)}",
        )
        return figure

    return build


def fractions(document: dict) -> Figure:
    """Table 2's data: sandwiches by fraction of light steps, what they cost and what they save."""
    heavy, light, tint = document["params"]["heavy"], lightest(document), colours(document)
    rows = by_fraction(document)
    table = {row["light_pct"]: row for row in paper()["table2_light_fraction"]["rows"]}
    figure = Figure(figsize=(WIDE, 2.2 + 0.16 * len(rows)))
    left, right = figure.subplots(1, 2)
    bar_rows = [
        Bar(f"{percent}%", Estimate.of(row, "gen_ppl"), tint[row["light"] or heavy])
        for percent, row in rows.items()
    ]
    bars.draw(left, bar_rows, GEN_PPL)
    bars.margin(left, [with_half(bar.estimate) for bar in bar_rows], GEN_PPL)
    left.set_ylabel("light fraction of the steps")
    savings.draw(right, list(rows.values()), list(table.values()))
    key = "Lines on bars: 95% intervals over samples. Seconds: of the runs that drew the samples, "
    annotate(
        figure,
        title("fractions"),
        sampled(document, light),
        f"{key}band: 95% over batches. {in_the_paper(document)}",
    )
    return figure


def entropy(document: dict) -> Figure:
    """Table 5's entropies of the seven hand-crafted schedules, and their paired change."""
    light, heavy, tint = lightest(document), document["params"]["heavy"], colours(document)
    rows, table = hand_crafted(document), of_table("table5_unconditional_entropy")
    figure = Figure(figsize=(WIDE, 3.0))
    left, right = figure.subplots(1, 2, width_ratios=[1.2, 1])

    def bars_of(column: str) -> list[Bar]:
        return [
            Bar(
                segments(row, document, light),
                Estimate.of(row, column),
                tint[row["light"] or heavy],
            )
            for row in rows.values()
        ]

    changes: list[Estimate | None] = [
        Estimate(table[name]["entropy"] - table["all-heavy"]["entropy"]) for name in rows
    ]
    bars.draw(left, bars_of("entropy_nats"), "entropy (nats)")
    bars.margin(left, [f"{bar.estimate.value:.3f}" for bar in bars_of("entropy_nats")], "entropy")
    bars.draw_changes(right, bars_of("entropy_diff_nats"), changes, "change in entropy (nats)")
    bars.margin(right, [f"{table[name]['entropy']:.2f}" for name in rows], "paper's entropy")
    right.set_yticklabels([])
    annotate(
        figure,
        title("entropy"),
        sampled(document, light),
        "Left: mean unigram entropy. Right: mean of the paired differences to all-heavy. Lines: "
        "95% intervals over samples.",
        f"Diamonds and last column: the paper, which prints no intervals here. "
        f"{in_the_paper(document)}",
    )
    return figure


BUILDS: dict[str, Callable[[dict], Figure]] = {
    "figure1": seven("figure1", lambda: of_table("table5_unconditional_entropy")),
    "figure7": seven("figure7", lambda: of_size("6b"), 6),
    "figure8": seven("figure8", lambda: of_size("8b"), 8),
    "figure9": seven("figure9", lambda: of_size("10b"), 10),
    "figure11": seven("figure11", lambda: of_table("table4_lm1b")),
    "figure13": seven("figure13", lambda: of_table("table3_prefix_256")),
    "figure14": seven("figure14", lambda: of_table("table6_prefix_128")),
    "fractions": fractions,
    "entropy": entropy,
}
