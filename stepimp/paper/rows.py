"""The rows of a comparison of schedules, by what the paper calls them."""

from stepimp.schedules import schedule as schedules
from stepimp.schedules.schedule import (
    LIGHT_SHARE,
    QUARTERS,
    Schedule,
    is_over_steps,
    parse,
    sandwich,
)

HAND_CRAFTED = ("all-light", *QUARTERS, "sandwich", "all-heavy")  # in the order of the paper
PAPER_BLOCKS = 12  # of the paper's heavy model


def lightest(document: dict) -> str:
    """The shallowest light model of a comparison."""
    return min(document["params"]["lights"], key=document["blocks"].get)


def light_of_depth(document: dict, paper_blocks: int) -> str | None:
    """The light model in the place of the paper's with `paper_blocks` of 12 blocks, if compared."""
    heavy_blocks = document["blocks"][document["params"]["heavy"]]
    for light in document["params"]["lights"]:
        if document["blocks"][light] * PAPER_BLOCKS == paper_blocks * heavy_blocks:
            return light
    return None


def over_steps(document: dict) -> list[dict]:
    """The rows of schedules over steps, as all of the paper's are."""
    return [row for row in document["rows"] if is_over_steps(row["schedule"])]


def schedule_of(row: dict, document: dict) -> Schedule:
    """The schedule of a row of `compare`."""
    return parse(row["schedule"], document["params"]["heavy"], row["light"])


def hand_crafted(document: dict, light: str | None = None) -> dict[str, dict]:
    """{name: row} of the paper's seven schedules, in the paper's order, as far as they were
    compared. light: their light model, by default the shallowest.
    """
    params, light = document["params"], light or lightest(document)
    heavy, steps = params["heavy"], params["steps"]
    named = schedules.hand_crafted(steps, round(LIGHT_SHARE * steps), heavy, light)
    rows = {
        schedule_of(row, document): row
        for row in over_steps(document)
        if row["light"] in (light, None)
    }
    return {
        name: rows[named[name]] for name in HAND_CRAFTED if name in named and named[name] in rows
    }


def has_all_seven(document: dict, light: str | None = None) -> bool:
    """Whether all of the paper's seven schedules were compared."""
    return len(hand_crafted(document, light)) == len(HAND_CRAFTED)


def sandwiches(document: dict) -> list[dict]:
    """The rows that are light at both ends alike, or heavy or light throughout."""
    heavy = document["params"]["heavy"]
    rows = []
    for row in over_steps(document):
        schedule = schedule_of(row, document)
        light_steps = sum(count for name, count in schedule.segments if name != heavy)
        if schedule == sandwich(schedule.steps, light_steps, heavy, row["light"] or heavy):
            rows.append(row)
    return rows


def by_light(document: dict) -> dict[str, dict]:
    """{light model: its row} of the sandwiches with a quarter of the steps light, the shallowest
    model first.
    """
    rows = {
        row["light"]: row
        for row in sandwiches(document)
        if abs(row["light_fraction"] - LIGHT_SHARE) < 0.01
    }
    return {light: rows[light] for light in sorted(rows, key=document["blocks"].get)}


def by_fraction(document: dict) -> dict[int, dict]:
    """{percent of light steps: its row} of the sandwiches with the shallowest model."""
    light = lightest(document)
    rows = {
        round(100 * row["light_fraction"]): row
        for row in sandwiches(document)
        if row["light"] in (light, None)
    }
    return dict(sorted(rows.items()))
