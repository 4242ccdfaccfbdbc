"""The schedule explorer: move the budget, see the best schedule under the curve of step importance
and what it costs.

Everything is laid out and written out here; the script in page/explorer.js only puts one point's
texts and segments in their places.
"""

import json
import shlex
from html import escape

from matplotlib.colors import to_hex
from matplotlib.ticker import MaxNLocator

from stepimp.paper.describe import measured
from stepimp.paper.peak import by_model, importance, peak_statement
from stepimp.schedules.recommend import kl_is_resolved
from stepimp.schedules.schedule import parse
from stepimp.wording import counted

from . import kl, loss
from .charts import chart, place, ticks
from .markup import table, tag
from .schedule import ink_on
from .style import INK, colours
from .tradeoff import BUDGETS, OBJECTIVES, budget_of, objective_of

TIME_TICKS = [(1, "1"), (0.75, "0.75"), (0.5, "0.5"), (0.25, "0.25"), (0, "0")]
COSTS = ("path_kl_nats", "nelbo_nats", "objective")


def explorer(document: dict) -> dict[str, str]:
    """What page/explorer.html needs for a `recommend` document: HTML of each place, and the
    script's data as JSON.
    """
    params, points = document["params"], best_schedules(document)
    tint = {model: to_hex(colour) for model, colour in colours(document).items()}
    curves = [row for row in document["curves"] if row["model"] in params["lights"]]
    start = [point["schedule"] for point in points].index(document["rows"][0]["schedule"])
    models = (params["heavy"], *params["lights"])
    looks = {model: {"colour": tint[model], "ink": ink_on(tint[model])} for model in models}
    return {
        "budget_label": escape("Budget: " + BUDGETS[budget_of(params)]),
        "last": str(len(points) - 1),
        "start": str(start),
        "chosen": texts(points[start], points[0], document)["budget"],
        "keys": "".join(key(model, tint[model], document) for model in models),
        "curve": importance_chart(curves, tint),
        "cost": cost_chart(points, budget_of(params)),
        "objective": escape(f"Objective: {OBJECTIVES[objective_of(params)]}"),
        "comparison": comparison(document),
        "notes": "".join(tag("p", escape(text)) for text in notes(document, curves)),
        "schedules": embedded(
            {"models": looks, "start": start, "tradeoff": placed(points, document)}
        ),
    }


def embedded(data) -> str:
    """JSON that cannot end the <script> around it."""
    return json.dumps(data, sort_keys=True).replace("<", "\\u003c")


def best_schedules(document: dict) -> list[dict]:
    """The trade-off and the recommendation, which may lie between two of its budgets, in the order
    of the budget.
    """
    by_schedule = {row["schedule"]: row for row in (document["rows"][0], *document["tradeoff"])}
    return sorted(by_schedule.values(), key=lambda row: row[budget_of(document["params"])])


def placed(points: list[dict], document: dict) -> list[dict]:
    """The points with all that the script shows of them; x and y: of the dot in the cost chart, in
    percent.
    """
    budget, heights = budget_of(document["params"]), ticks(points, "path_kl_nats")
    return [
        point
        | {
            "segments": segments(point, document),
            "texts": texts(point, points[0], document),
            "x": place(point[budget], (0, points[-1][budget])),
            "y": place(point["path_kl_nats"], heights),
        }
        for point in points
    ]


def segments(point: dict, document: dict) -> list:
    """[model, steps] from the start of sampling to its end."""
    heavy, lights = document["params"]["heavy"], document["params"]["lights"]
    schedule = parse(point["schedule"], heavy, min(lights, key=document["blocks"].get))
    return [list(segment) for segment in schedule.segments]


def texts(point: dict, without: dict, document: dict) -> dict[str, str]:
    """What is shown of one schedule. without: the one that saves nothing, for the change in
    NELBO.
    """
    params = document["params"]
    light, saved = f"{point['light_fraction']:.1%}", f"{point['saved_flops']:.1%}"
    family = ["--family", params["family"]] if params.get("family") else []
    shallowest = min(params["lights"], key=document["blocks"].get)
    run = [
        "stepimp",
        "generate",
        "--schedule",
        point["schedule"],
        "--heavy",
        params["heavy"],
        "--light",
        shallowest,
    ]
    change = f"{point['nelbo_nats'] - without['nelbo_nats']:+.4f}"
    return {
        "budget": saved if params["save_flops"] else light,
        "schedule": point["schedule"],
        "light": light,
        "saved": saved,
        "change": change,
        "command": shlex.join([*run, *family]),
        "spoken": f"{point['schedule']}: {light} light, {saved} of the FLOPs saved, "
        f"path KL {point['path_kl_nats']:.4f}, NELBO {change}",
    } | {name: banded(point, name) for name in COSTS}


def banded(row: dict, name: str) -> str:
    """A value with its 95% band."""
    if row.get(name) is None:
        return "–"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return f"{row[name]:.4f}" + ("" if low is None or low == high else f" [{low:.4f}, {high:.4f}]")


def key(model: str, colour: str, document: dict) -> str:
    """One entry of the legend."""
    chip = tag("i", style=f"background:{colour}", class_="chip")
    return tag("li", f"{chip}{escape(model)}, {counted(document['blocks'][model], 'block')}")


def importance_chart(curves: list[dict], tint: dict) -> str:
    """The curves of step importance over t, above the bar of the schedule."""
    column = importance(curves)
    title = (
        loss.PANELS[column][1]
        if column in loss.PANELS
        else f"{kl.TITLES[column]} (nats per masked position)"
    )
    lines = [(rows, tint[model]) for model, rows in by_model(curves).items()]
    shade, bar = (
        tag("div", class_="shade", aria_hidden="true"),
        tag("div", class_="bar", role="img"),
    )
    return chart(
        lines,
        ("t", column),
        (1, 0),
        TIME_TICKS,
        (title, "t (start of sampling → its end)"),
        shade,
        bar,
    )


def cost_chart(points: list[dict], budget: str) -> str:
    """The predicted path KL over the budget, with a dot at the one chosen."""
    ends = (0, points[-1][budget])
    marks = [(x, f"{x:.0%}") for x in MaxNLocator(5).tick_values(*ends) if ends[0] <= x <= ends[1]]
    labels = ("Path KL (nats per token)", BUDGETS[budget])
    dot = tag("i", class_="dot", aria_hidden="true")
    return chart([(points, INK)], (budget, "path_kl_nats"), ends, marks, labels, dot)


def comparison(document: dict) -> str:
    """The recommendation beside the schedules people write by hand."""
    params = document["params"]
    columns = [
        "name",
        "schedule",
        "light",
        "saved FLOPs",
        "path KL",
        "NELBO",
        f"objective: {params['by']}",
    ]
    rows = [
        [row["name"], row["schedule"], f"{row['light_fraction']:.1%}", f"{row['saved_flops']:.1%}"]
        + [banded(row, name) for name in COSTS]
        for row in document["rows"]
    ]
    of = "saved FLOPs" if params["save_flops"] else "light steps"
    title = (
        f"The recommendation for a budget of {params['budget']:.4g} of {of}, beside schedules "
        "written by hand"
    )
    return table(
        columns,
        rows,
        f"{title}; predictions in nats per token with 95% bands, T = {params['steps']}",
    )


def notes(document: dict, curves: list[dict]) -> list[str]:
    """What was measured, whether it peaks where the paper says, and how far the boundaries can be
    trusted.
    """
    boundaries = document["boundaries"]
    moves = [
        f"{move['before']} to {move['after']} at t = {move['t']:.2f}"
        + ("" if move["t_low"] is None else f" [{move['t_low']:.2f}, {move['t_high']:.2f}]")
        for move in boundaries["moves"]
    ]
    stable = f"in {boundaries['agreement']:.0%} of the resamples"
    trust = (
        f"Its boundaries, {'; '.join(moves)}, are found again, in this order, {stable}."
        if moves
        else ""
    )
    recommended = f"Recommended: {document['rows'][0]['schedule']}. {trust or f'So {stable}.'}"
    return [
        measured(document),
        peak_statement(curves),
        recommended,
        *unresolved(document["params"], curves),
    ]


def unresolved(params: dict, curves: list[dict]) -> list[str]:
    """What `stepimp recommend` warns of, where its objective is a relative KL that is nowhere above
    0 by its band.
    """
    if objective_of(params) != "relative_kl" or kl_is_resolved(curves, params["lights"]):
        return []
    return [
        "Nowhere is the relative KL resolved above 0, so it cannot tell steps apart: use --by "
        "nelbo or --by loss."
    ]
