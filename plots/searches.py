"""Figures of the search over coarse schedules: 2, 3, 6, 10, and our own of what was predicted."""

from collections.abc import Callable

from matplotlib.figure import Figure

from stepimp.intervals import Estimate
from stepimp.paper.claims import light_rows
from stepimp.paper.contents import title
from stepimp.paper.describe import in_the_paper, sampled

from . import coarse, foreseen, segments
from .notes import annotate
from .style import COLUMN, LIGHT_SEGMENT, WIDE, colours

SHOWN = 5  # schedules at each end of the ranking
KEY = "95%, bootstrap over samples, paired."


def figure2(document: dict) -> Figure:
    """The best and the worst coarse schedules."""
    rows, params = document["rows"], document["params"]
    shown = min(SHOWN, len(rows) // 2)
    figure = Figure(figsize=(WIDE, 1.9 + 0.16 * shown))
    best, worst = figure.subplots(1, 2, gridspec_kw={"wspace": 0.08})
    coarse.draw(best, rows[:shown])
    coarse.draw(worst, rows[len(rows) - shown :])
    best.set(title=f"Best {shown}", ylabel="rank")
    worst.set(title=f"Worst {shown}")
    annotate(
        figure,
        title("figure2", shown=shown, ranked=len(rows)),
        sampled(document),
        f"Red: {params['light']}; pale: {params['heavy']}. To the right of each row: gen-PPL and "
        f"half of its 95% interval over samples. {in_the_paper(document)}",
    )
    return figure


def frequency(name: str, column: str) -> Callable[[dict], Figure]:
    """A function document -> Figure of how often each segment is light at one end of the ranking.

    column: of the rows `influence`.
    """

    def build(document: dict) -> Figure:
        params, extremes = document["params"], document["influence"][0]["extremes"]
        figure = Figure(figsize=(COLUMN, 3.5))
        ax = figure.subplots()
        chance = params["light_segments"] / params["segments"]
        segments.draw(ax, light_rows(document, column), column, LIGHT_SEGMENT, chance)
        ax.set(ylim=(0, 1), ylabel=f"share of the {extremes} schedules")
        annotate(
            figure,
            title(name, extremes=extremes, ranked=len(document["rows"])),
            sampled(document),
            f"Lines: {KEY} The schedules are ranked anew on each resample. Dashed: by chance. "
            f"{in_the_paper(document)}",
        )
        return figure

    return build


def figure6(document: dict) -> Figure:
    """Influence of each segment, formula (8)."""
    figure = Figure(figsize=(COLUMN, 3.5))
    ax = figure.subplots()
    segments.draw(ax, document["influence"], "influence_ppl", LIGHT_SEGMENT)
    ax.set(ylabel="influence (gen-PPL)")
    annotate(
        figure,
        title("figure6", ranked=len(document["rows"])),
        sampled(document),
        f"Above 0: light steps there cost more than elsewhere. Lines: {KEY} "
        f"{in_the_paper(document)}",
    )
    return figure


def predicted(document: dict) -> Figure:
    """Measured gen-PPL against each prediction from the curves, with its rank correlation."""
    predictions = [
        prediction
        for prediction in document["predictions"]
        if prediction["predicted_by"] in foreseen.COLUMNS
    ]
    colour = colours(document)[document["params"]["light"]]
    figure = Figure(figsize=(WIDE if len(predictions) > 1 else COLUMN, 2.9))
    axes = figure.subplots(1, len(predictions), sharey=True, squeeze=False)[0]
    for ax, prediction in zip(axes, predictions):
        foreseen.draw(ax, document["rows"], prediction["predicted_by"], colour)
        rank_correlation = Estimate.of(prediction, "spearman")
        ax.set_title(f"Spearman {rank_correlation.value:.2f} {rank_correlation.brackets()}")
        if ax is not axes[0]:
            ax.set_ylabel("")
    annotate(
        figure,
        title("predicted"),
        sampled(document),
        *against_nelbo(document),
        "A dot for each schedule, the best found a star. Lines: 95% intervals over samples; "
        f"brackets: {KEY} {in_the_paper(document)}",
    )
    return figure


def against_nelbo(document: dict) -> list[str]:
    """What is known without the noise of samples, as a note; nothing in older documents."""
    notes = []
    for row in document.get("held_out", []):
        if row["predicted_by"] == "predicted_nelbo_nats":
            spearman = Estimate.of(row, "spearman")
            notes.append(
                "Without samples and judge: the NELBO from one half of the sequences ranks the "
                f"schedules as that on the other {row['sequences']} does, Spearman "
                f"{spearman.value:.2f} {spearman.brackets()}."
            )
    return notes


BUILDS: dict[str, Callable[[dict], Figure]] = {
    "figure2": figure2,
    "figure3": frequency("figure3", "light_in_top"),
    "figure6": figure6,
    "figure10": frequency("figure10", "light_in_bottom"),
    "predicted": predicted,
}
