"""Our own figures of what schedules, plans and policies cost, predicted and measured."""

from collections.abc import Callable

from matplotlib.figure import Figure

from stepimp.intervals import Estimate
from stepimp.paper.contents import title
from stepimp.paper.describe import family_name, in_the_paper, measured, origin
from stepimp.paper.numbers import paper
from stepimp.paper.policies import compared
from stepimp.wording import counted

from . import breakdown, frontier, savings, tradeoff
from . import policies as differences
from .notes import annotate
from .style import COLUMN, WIDE, colours


def trade_off(document: dict) -> Figure:
    """The least predicted objective for every budget, and the schedules it was compared with."""
    params, rows = document["params"], document["rows"]
    figure = Figure(figsize=(COLUMN, 4.0))
    by, budget = tradeoff.objective_of(params), tradeoff.budget_of(params)
    tradeoff.draw(figure.subplots(), rows, document["tradeoff"], by, budget)
    annotate(
        figure,
        title("tradeoff"),
        measured(document),
        f"Line: the best schedules of at most {params['segments']} segments, from the curves "
        f"alone. Recommended: {rows[0]['schedule']}, {rows[0]['saved_flops']:.1%} of the blocks' "
        f"FLOPs saved. {in_the_paper(document)}",
    )
    return figure


def masked(document: dict) -> Figure:
    """The trade-off of schedules over the number of masked positions."""
    params, rows = document["params"], document["rows"]
    figure, best = Figure(figsize=(COLUMN, 4.0)), rows[0]
    by, budget = tradeoff.objective_of(params), tradeoff.budget_of(params)
    ax, named = figure.subplots(), [row for row in rows if row["name"] != "best over steps"]
    tradeoff.draw(ax, named, document["tradeoff"], by, budget)
    if not params["save_flops"]:
        ax.set_xlabel("light fraction of the expected forward passes")
    difference = Estimate.of(best, "over_steps_diff_nats")
    annotate(
        figure,
        title("masked"),
        measured(document),
        f"Line: the best schedules of at most {params['segments']} segments. Recommended: "
        f"{best['schedule']}, {difference.text()} nats per token (95%) from the best over steps "
        f"at the same expected cost, {best['best_over_steps']}. Both are optima on the sequences "
        "that measure them. The paper has schedules over steps alone.",
    )
    return figure


def plan(document: dict) -> Figure:
    """The frontier of plans, and schedules of T steps."""
    params, rows = document["params"], document["rows"]
    figure = Figure(figsize=(WIDE, 3.6))
    frontier.draw(figure.subplots(), rows, document["frontier"], document["fixed"])
    goal = "NELBO" if params["by"] == "nelbo" else "KL from one token of the heavy model at a time"
    annotate(
        figure,
        title("plan"),
        measured(document),
        f"{goal}, from the curves alone. Recommended for {params['budget']:g} x "
        f"{params['forwards']:g} passes of {params['heavy']}: {rows[0]['passes']}. Other lines: "
        "schedules of T steps, each point another T. Plans are optima on the sequences that "
        "measure them. The paper has schedules over steps alone.",
    )
    return figure


def policies(document: dict) -> Figure:
    """Each policy against the best schedule over steps, by its name in the document."""
    rows = {row["name"]: row for row in document["rows"]}
    reference, light = rows.pop("best over steps"), document["params"]["light"]
    figure = Figure(figsize=(COLUMN, 3.2))
    ax = figure.subplots()
    differences.draw(ax, list(rows.values()), reference, colours(document)[light])
    annotate(
        figure,
        title("policies"),
        compared(document),
        f"Lines: 95% intervals, jointly for the policies at equal cost. Cost: passes of "
        f"{document['params']['heavy']} per sample, counting blocks; "
        f"{reference['heavy_forwards']:.1f} for the best over steps, {reference['policy']}. "
        "The paper has schedules over steps alone.",
    )
    return figure


def profile(document: dict) -> Figure:
    """Where the time goes, and what a light fraction saves, beside the paper's Table 2."""
    rows, params, provenance = document["rows"], document["params"], document["provenance"]
    figure = Figure(figsize=(WIDE, 3.3))
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
    breakdown.draw(left, [row for row in rows if row["kind"] == "part"])
    swept = [
        row for row in rows if row["kind"] == "saving" and row["schedule"] != params["schedule"]
    ]
    savings.draw(right, swept, paper()["table2_light_fraction"]["rows"])
    annotate(
        figure,
        title("profile"),
        f"{origin(document)}Family {family_name(document)}, heavy {params['heavy']}, light "
        f"{params['light']}; {counted(params['samples'], 'sample')} of {params['length']} tokens, "
        f"T = {params['steps']}, batch {params['batch_size']}, {params['dtype']} on "
        f"{provenance['device']}; median and range of {counted(params['repeats'], 'run')}; "
        f"stepimp {provenance['version']}. Light steps lie at both ends.",
        "At most: the speed-up that fewer blocks can bring, 1/a for the share a of the time "
        "outside the body, formula (7). The paper prints 1/(1 - a) for this a; its own "
        "decomposition gives 1/a.",
    )
    return figure


BUILDS: dict[str, Callable[[dict], Figure]] = {
    "tradeoff": trade_off,
    "masked": masked,
    "plan": plan,
    "policies": policies,
    "profile": profile,
}
