"""The figures, each built from results documents alone.

To add one: write its `draw` in a file of its own, a function here that takes the documents and
returns the Figure, and a line in FIGURES. `stepimp figures` then draws it.

What we have of the paper says which figures are comparisons of schedules (1, 7 to 9, 11, 13, 14)
and which come from the search (2, 3, 6, 10), but not what each of them shows. That assignment is
ours: 1 is the unconditional comparison (Table 5's data), 7 and 8 are size and fraction of the light
model (Tables 1 and 2), 9 and 11 the prefixes of a quarter and an eighth (Tables 3 and 6), 13 the
LM1B role (Table 4), 14 the entropy; 2 shows the best and the worst coarse schedules, 3 how often
they are light in each segment, 6 how well the curves foresaw the ranking, 10 the influence."""

from matplotlib.figure import Figure

from stepimp.paper.claims import light_rows
from stepimp.paper.needs import (
    HAND_CRAFTED,
    by_fraction,
    by_light,
    family_name,
    hand_crafted,
    in_the_paper,
    sampled,
)
from stepimp.paper.numbers import paper
from stepimp.paper.peak import importance, peak_statement
from stepimp.paper.tables import log_change, log_change_half, text

from . import bars, breakdown, coarse, foreseen, kl, loss, savings, schedule, segments, tradeoff
from .notes import footnote, measured, with_half
from .style import COLUMN, WIDE, colours, legend

KEY = "Bands: 95%, bootstrap over sequences. Shaded: where the paper finds the peak."
LOG_PPL = "change in log-PPL (nats per token)"
BAR_KEY = "Bars: means of the paired differences; lines: 95% intervals over samples."
PAPER_KEY = "Diamonds: the same from the gen-PPL that the paper prints, with the interval its printed ones make."
SEARCH_KEY = "95%, bootstrap over samples, paired."
RAW = "KL between heavy and light models over t."
SHOWN = 10  # schedules at each end of the ranking


def against_heavy(row: dict, column: str, label: str, colour, remark: str) -> dict:
    """A row of `bars` from one of `compare`."""
    ends = {end[1:]: row[column + end] for end in ("_low", "_high")}
    return {"label": label, "value": row[column], "colour": colour, "remark": remark, **ends}


def published_change(row: dict | None, heavy: dict) -> dict | None:
    """The paper's gen-PPL as `bars` want it: its change in log-PPL, with an interval where the
    paper prints one.
    """
    if row is None:
        return None
    change, half = log_change(row, heavy), log_change_half(row, heavy)
    return {"value": change} | (
        {} if half is None else {"low": change - half, "high": change + half}
    )


def gen_ppl(row: dict) -> str:
    """gen-PPL with half its interval, for the margin."""
    if row["gen_ppl_low"] is None:
        return text(row["gen_ppl"])
    return with_half(row, "gen_ppl")


def entropy(row: dict) -> str:
    return f"{row['entropy_nats']:.3f}"


def published_entropy(row: dict | None, heavy: dict) -> dict | None:
    return row and {"value": row["entropy"] - heavy["entropy"]}


def schedules(
    document: dict, published: str, column="log_ppl_diff", shown=gen_ppl, theirs=published_change
):
    """Strips and bars of the seven hand-crafted schedules and our recommendation, beside a table of
    the paper.
    """
    found = hand_crafted(document)
    found |= {row["name"]: row for row in document["rows"] if row["name"] == "recommended"}
    numbers = dict(zip(HAND_CRAFTED, paper()[published]["rows"]))
    tint, heavy = colours(document), document["params"]["heavy"]
    light = found["sandwich"]["light"]
    figure = Figure(figsize=(WIDE, 1.6 + 0.22 * len(found)))
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.5], gridspec_kw={"wspace": 0.06})
    schedule.draw(left, [row | {"name": name} for name, row in found.items()], heavy, light, tint)
    rows = [
        against_heavy(row, column, "", tint[row["light"] or heavy], shown(row))
        for row in found.values()
    ]
    beside = [theirs(numbers.get(name), numbers["all-heavy"]) for name in found]
    label, remark = (
        (LOG_PPL, "gen-PPL") if shown is gen_ppl else ("change in entropy (nats)", "entropy")
    )
    bars.draw(right, rows, beside, label, remark)
    legend(figure)
    return figure


def comparison(published: str, where: str):
    """A function document -> Figure of the hand-crafted schedules in one setting."""

    def build(document: dict) -> Figure:
        figure = schedules(document, published)
        title = f"Change in log-PPL of the hand-crafted schedules against all-heavy, {where}."
        footnote(
            figure, title, sampled(document), f"{BAR_KEY} {PAPER_KEY} {in_the_paper(document)}"
        )
        return figure

    return build


def figure7(document: dict) -> Figure:
    """Table 1's data: the sandwich with a quarter of the steps light, by size of the light
    model.
    """
    tint, found = colours(document), by_light(document)
    numbers = {row["light"]: row for row in paper()["table1_light_size"]["rows"]}
    rows = [
        against_heavy(
            row,
            "log_ppl_diff",
            f"{light} ({row['saved_flops']:.1%} saved)",
            tint[light],
            gen_ppl(row),
        )
        for light, row in found.items()
    ]
    figure = Figure(figsize=(COLUMN, 1.9 + 0.24 * len(rows)))
    beside = [published_change(numbers.get(light), numbers["12b"]) for light in found]
    bars.draw(figure.subplots(), rows, beside, LOG_PPL, "gen-PPL")
    legend(figure)
    title = "Change in log-PPL against all-heavy of the sandwich, a quarter of it light, by size of the light model."
    key = "In brackets: saved FLOPs of the blocks, formula (3)."
    footnote(
        figure, title, sampled(document), f"{BAR_KEY} {PAPER_KEY} {key} {in_the_paper(document)}"
    )
    return figure


def figure8(document: dict) -> Figure:
    """Table 2's data: the sandwich by fraction of light steps, what it costs and what it saves."""
    tint, heavy, found = colours(document), document["params"]["heavy"], by_fraction(document)
    numbers = {row["light_pct"]: row for row in paper()["table2_light_fraction"]["rows"]}
    rows = [
        against_heavy(row, "log_ppl_diff", f"{percent}%", tint[row["light"] or heavy], gen_ppl(row))
        for percent, row in found.items()
    ]
    figure = Figure(figsize=(WIDE, 1.8 + 0.17 * len(rows)))
    left, right = figure.subplots(1, 2)
    bars.draw(
        left,
        rows,
        [published_change(numbers.get(percent), numbers[0]) for percent in found],
        LOG_PPL,
        "gen-PPL",
    )
    left.set_ylabel("light fraction of the steps")
    savings.draw(right, list(found.values()), list(numbers.values()))
    legend(figure)
    title = "Sandwiches by fraction of light steps: change in log-PPL against all-heavy, and what is saved."
    key = "Seconds: of the runs that drew the samples, band: 95% over batches. The paper prints no intervals here."
    footnote(figure, title, sampled(document), f"{BAR_KEY} {key} {in_the_paper(document)}")
    return figure


def figure14(document: dict) -> Figure:
    """Table 5's data: change in entropy of the hand-crafted schedules against all-heavy,
    unconditional.
    """
    figure = schedules(
        document, "table5_unconditional_entropy", "entropy_diff_nats", entropy, published_entropy
    )
    title = "Change in entropy of the hand-crafted schedules against all-heavy, unconditional."
    key = "To the right: the mean unigram entropy in nats. Diamonds: the paper, which prints no intervals here."
    footnote(figure, title, sampled(document), f"{BAR_KEY} {key} {in_the_paper(document)}")
    return figure


def figure2(document: dict) -> Figure:
    """The best and the worst coarse schedules of the search."""
    rows, params, tint = document["rows"], document["params"], colours(document)
    shown = min(SHOWN, len(rows) // 2)
    figure = Figure(figsize=(COLUMN, 2.0 + 0.3 * shown))
    best, worst = figure.subplots(2, sharex=True)
    letters = {"H": tint[params["heavy"]], "L": tint[params["light"]]}
    coarse.draw(best, rows[:shown], letters)
    coarse.draw(worst, rows[len(rows) - shown :], letters)
    best.set(xlabel="", title=f"Best {shown} of {len(rows)}", ylabel="rank")
    worst.set(title=f"Worst {shown}", ylabel="rank")
    for letter, name in (("H", params["heavy"]), ("L", params["light"])):
        best.barh(0, 0, color=letters[letter], label=name)
    legend(figure)
    title = "The best and the worst coarse schedules of the search."
    key = "To the right: gen-PPL and half of its 95% interval over samples."
    footnote(figure, title, sampled(document), f"{key} {in_the_paper(document)}")
    return figure


def figure3(document: dict) -> Figure:
    """How often the best and the worst coarse schedules are light in each segment."""
    params, extremes = document["params"], document["influence"][0]["extremes"]
    tint = colours(document)[params["light"]]
    figure = Figure(figsize=(WIDE, 2.9))
    axes = figure.subplots(1, 2, sharey=True)
    for ax, title, (column, rows) in zip(axes, ("Best", "Worst"), light_rows(document).items()):
        segments.draw(ax, rows, column, tint, chance=params["light_segments"] / params["segments"])
        ax.set(title=f"{title} {extremes} of {len(document['rows'])}", ylim=(0, 1))
    axes[0].set_ylabel(f"share of schedules with {params['light']} here")
    title = (
        "How often the best and the worst coarse schedules of the search are light in each segment."
    )
    key = f"Lines: {SEARCH_KEY} The schedules are ranked anew on each resample. Dashed: by chance."
    footnote(figure, title, sampled(document), f"{key} {in_the_paper(document)}")
    return figure


def figure6(document: dict) -> Figure:
    """Measured gen-PPL against each prediction from the curves, with its rank correlation."""
    known = [one for one in document["predictions"] if one["predicted_by"] in foreseen.COLUMNS]
    title = "Gen-PPL of the coarse schedules against what the curves predict, with the rank correlation."
    key = f"A dot per schedule, the best found a star. Lines: 95% interval over samples; brackets: {SEARCH_KEY}"
    figure = Figure(figsize=(WIDE if len(known) > 1 else COLUMN, 2.9))
    for ax, one in zip(figure.subplots(1, len(known), sharey=True, squeeze=False)[0], known):
        foreseen.draw(
            ax,
            document["rows"],
            one["predicted_by"],
            colours(document)[document["params"]["light"]],
        )
        rho = [f"{one['spearman' + end]:.2f}" for end in ("", "_low", "_high")]
        ax.set(
            title=f"Spearman {rho[0]} [{rho[1]}, {rho[2]}]",
            ylabel=ax.get_ylabel() if one is known[0] else "",
        )
    footnote(figure, title, sampled(document), f"{key} {in_the_paper(document)}")
    return figure


def figure10(document: dict) -> Figure:
    """Influence of each segment, formula (8)."""
    figure = Figure(figsize=(COLUMN, 3.2))
    ax = figure.subplots()
    segments.draw(
        ax, document["influence"], "influence_ppl", colours(document)[document["params"]["light"]]
    )
    ax.set(title="Influence of light steps", ylabel="gen-PPL, light here minus all")
    title = "Influence of each segment, formula (8): mean gen-PPL of the schedules that are light in it minus that of all."
    footnote(figure, title, sampled(document), f"Lines: {SEARCH_KEY} {in_the_paper(document)}")
    return figure


def curve_caption(title: str, document: dict, rows: list[dict]) -> tuple[str, ...]:
    """Paragraphs for `footnote`."""
    return title, measured(document), peak_statement(rows), f"{KEY} {in_the_paper(document)}"


def figure4(document: dict) -> Figure:
    """Loss difference over t, absolute and signed."""
    figure, rows = Figure(figsize=(WIDE, 3.1)), document["rows"]
    for ax, column in zip(figure.subplots(1, 2), loss.PANELS):
        loss.draw(ax, rows, colours(document), column)
    legend(figure)
    title = "Difference of the light models' masked cross-entropy to the heavy one's over t, absolute and signed."
    footnote(figure, *curve_caption(title, document, rows))
    return figure


def figure5(document: dict) -> Figure:
    """Relative KL over t, and below it, smaller, what it is the difference of."""
    rows, tint = document["rows"], colours(document)
    column = importance(rows)
    parts = ["kl_nats", "baseline_kl_nats"] if column == "relative_kl_nats" else []
    figure = Figure(figsize=(COLUMN, 4.5 if parts else 3.5))
    axes = figure.subplots(
        2 if parts else 1, squeeze=False, sharex=True, height_ratios=[2, 1] if parts else [1]
    )[:, 0]
    kl.draw(axes[0], rows, tint, column)
    for part in parts:
        kl.draw(axes[1], rows, tint, part, band=False, linewidth=0.9)
        axes[0].set(xlabel="")
        axes[1].set(title="Raw and baseline KL", ylabel="nats")
    legend(figure)
    title = "KL between heavy and light models over t, less that between two seeds of the heavy one; below, both."
    footnote(figure, *curve_caption(title if parts else RAW, document, rows))
    return figure


def figure12(document: dict) -> Figure:
    """All light models: raw, baseline and relative KL, as far as they were measured."""
    rows = document["rows"]
    columns = [column for column in kl.TITLES if column in rows[0]]
    figure = Figure(figsize=(max(COLUMN, WIDE * len(columns) / 3), 3.0))
    axes = dict(zip(columns, figure.subplots(1, len(columns), squeeze=False)[0]))
    if "baseline_kl_nats" in axes:
        axes["baseline_kl_nats"].sharey(axes["kl_nats"])
    for column, ax in axes.items():
        kl.draw(ax, rows, colours(document), column)
        ax.set(ylabel=ax.get_ylabel() if column == "kl_nats" else "")
    legend(figure)
    title = "KL between heavy and light models over t, between two seeds of the heavy one, and their difference."
    footnote(figure, *curve_caption(title if len(columns) > 1 else RAW, document, rows))
    return figure


def recommended(document: dict) -> Figure:
    """How much each step matters, and under it the recommended schedule and those it was compared
    with, by rank.
    """
    params, blocks, tint = document["params"], document["blocks"], colours(document)
    curves = [row for row in document["curves"] if row["model"] in params["lights"]]
    strips = [row for row in document["rows"] if row["name"] not in ("all-heavy", "all-light")]
    figure = Figure(figsize=(COLUMN, 3.4 + 0.16 * len(strips)))
    above, below = figure.subplots(2, sharex=True, height_ratios=[10, 1.2 * len(strips)])
    column = importance(curves)
    (loss if column in loss.PANELS else kl).draw(above, curves, tint, column)
    schedule.draw(below, strips, params["heavy"], min(params["lights"], key=blocks.get), tint)
    above.set(xlabel="")
    legend(figure)
    title = "How much each step matters; below, the recommended schedule and those it was compared with, by rank."
    footnote(figure, *curve_caption(title, document, curves))
    return figure


def trade_off(document: dict) -> Figure:
    """The least predicted objective for every budget, and the schedules it was compared with."""
    params, rows = document["params"], document["rows"]
    figure = Figure(figsize=(COLUMN, 3.6))
    by = "relative_kl" if params["by"] == "kl" and params["baseline"] else params["by"]
    budget = "saved_flops" if params["save_flops"] else "light_fraction"
    tradeoff.draw(figure.subplots(), rows, document["tradeoff"], by, budget)
    title = "What a budget is predicted to cost, and the schedules it was compared with."
    line = (
        f"Line: the best schedules of at most {params['segments']} segments, from the curves alone."
    )
    chosen = f"Recommended: {rows[0]['schedule']}, {rows[0]['saved_flops']:.1%} of the blocks' FLOPs saved."
    footnote(figure, title, measured(document), f"{line} {chosen} {in_the_paper(document)}")
    return figure


def profile(document: dict) -> Figure:
    """Where the time goes, and what a light fraction saves, beside the paper's Table 2."""
    rows, params = document["rows"], document["params"]
    figure = Figure(figsize=(WIDE, 2.9))
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
    breakdown.draw(left, [row for row in rows if row["kind"] == "part"])
    plain = [
        row for row in rows if row["kind"] == "saving" and row["schedule"] != params["schedule"]
    ]
    savings.draw(right, plain, paper()["table2_light_fraction"]["rows"])
    legend(figure)
    provenance = document["provenance"]
    footnote(
        figure,
        "Where the sampling time goes, and what a light fraction of the steps saves, beside the paper's Table 2.",
        f"Family {family_name(document)}, heavy {params['heavy']}, light {params['light']}; {params['samples']} samples "
        f"of {params['length']} tokens, T = {params['steps']}, batch {params['batch_size']}, {params['dtype']} on "
        f"{provenance['device']}; median and range of {params['repeats']} runs; stepimp {provenance['version']}. "
        "Light steps lie at both ends.",
        "At most: the speed-up that fewer blocks can bring, 1/a for the share a of the time outside the body, formula "
        "(7). The paper prints 1/(1 - a) for this a; its own decomposition gives 1/a.",
    )
    return figure


UNCONDITIONAL = comparison("table5_unconditional_entropy", "unconditional")
# name of the figure: (what it needs, see stepimp.paper.needs.NEEDS; function of one document per
# need)
FIGURES = {
    "figure1": (("unconditional",), UNCONDITIONAL),
    "figure2": (("search",), figure2),
    "figure3": (("search",), figure3),
    "figure4": (("loss",), figure4),
    "figure5": (("kl",), figure5),
    "figure6": (("search",), figure6),
    "figure7": (("light_sizes",), figure7),
    "figure8": (("light_fractions",), figure8),
    "figure9": (
        ("prefix_256",),
        comparison("table3_prefix_256", "after a prefix of a quarter of the length"),
    ),
    "figure10": (("search",), figure10),
    "figure11": (
        ("prefix_128",),
        comparison("table6_prefix_128", "after a prefix of an eighth of the length"),
    ),
    "figure12": (("kl",), figure12),
    "figure13": (("lm1b",), comparison("table4_lm1b", "in the role of LM1B")),
    "figure14": (("unconditional",), figure14),
    "recommended": (("recommend",), recommended),
    "tradeoff": (("recommend",), trade_off),
    "profile": (("profile",), profile),
}
