"""Tables from results documents: the paper's six, and by name our own. In the former the paper's
columns are first, then the change in log-PPL, then what the paper printed.

Perplexities are on other scales (models, text, judge), so that what compares with the paper is the
change against all-heavy: as a log-PPL difference in nats per token, ours paired over samples.
"""

import math
from collections.abc import Callable

from stepimp.paper import contents
from stepimp.paper.cells import Documents, Table, cell, with_half
from stepimp.paper.describe import in_the_paper, sampled
from stepimp.paper.numbers import paper
from stepimp.paper.policies import policies_table
from stepimp.paper.recipes import made_by
from stepimp.paper.rows import HAND_CRAFTED, by_fraction, by_light, hand_crafted

OURS = ["gen-PPL", "gen-PPL ±"]
CHANGE = ["log-PPL change", "log-PPL ±"]


def drop(row: dict | None, heavy: dict | None) -> float | None:
    """How much higher the gen-PPL is than all-heavy's, in percent: the paper's PPL drop."""
    if not row or not heavy:
        return None
    return 100 * (row["gen_ppl"] / heavy["gen_ppl"] - 1)


def log_change(row: dict, heavy: dict) -> float:
    """A published gen-PPL as a difference in log-PPL to the all-heavy one, nats per token."""
    return math.log(row["gen_ppl"] / heavy["gen_ppl"])


def log_change_half(row: dict, heavy: dict) -> float | None:
    """Half the width of its interval, from the published ones as if the two were independent."""
    if row is heavy or "ci" not in row:
        return None
    return math.hypot(row["ci"] / row["gen_ppl"], heavy["ci"] / heavy["gen_ppl"])


def setting(documents: Documents, need: str) -> str:
    """What was compared, in a line, or what would compare it."""
    document = documents.get(need)
    if not document:
        return f"No results yet: {made_by(need, documents=documents)} makes them."
    return f"{sampled(document)} ±: half of the 95% interval over samples. {in_the_paper(document)}"


def schedules_table(name: str, published: str) -> Callable[[Documents], Table]:
    """The seven hand-crafted schedules, with entropy, and last our recommendation where it was
    compared. published: key of the paper's table.
    """

    def build(documents: Documents) -> Table:
        need = contents.TABLES[name].need
        document, printed = documents.get(need), dict(zip(HAND_CRAFTED, paper()[published]["rows"]))
        ours = hand_crafted(document) if document else {}
        if document:
            ours |= {row["name"]: row for row in document["rows"] if row["name"] == "recommended"}
        rows = [
            [
                light_steps,
                (ours.get(light_steps) or printed[light_steps])["schedule"],
                *with_half(ours.get(light_steps), "gen_ppl"),
                cell(ours.get(light_steps), "entropy_nats"),
                *with_half(ours.get(light_steps), "log_ppl_diff"),
                cell(printed.get(light_steps), "gen_ppl"),
                cell(printed.get(light_steps), "ci"),
                cell(printed.get(light_steps), "entropy"),
                log_change(printed[light_steps], printed["all-heavy"])
                if light_steps in printed
                else None,
            ]
            for light_steps in printed | ours
        ]
        columns = ["light steps", "schedule", *OURS, "entropy (nats)", *CHANGE]
        columns += ["paper gen-PPL", "paper ±", "paper entropy", "paper log-PPL change"]
        return Table(contents.title(name), columns, rows, setting(documents, need))

    return build


def table1(documents: Documents) -> Table:
    """The sandwich by size of the light model; last the heavy model itself."""
    need = contents.TABLES["table1"].need
    document = documents.get(need)
    printed = {row["light"]: row for row in paper()["table1_light_size"]["rows"]}
    ours = by_light(document) if document else {}
    heavy = None
    if document:
        heavy = next(row for row in document["rows"] if row["light"] is None)
        ours[document["params"]["heavy"]] = heavy
    rows = [
        [
            light,
            *with_half(ours.get(light), "gen_ppl"),
            drop(ours.get(light), heavy),
            cell(ours.get(light), "saved_flops", 100),
            *with_half(ours.get(light), "log_ppl_diff"),
            cell(printed.get(light), "gen_ppl"),
            cell(printed.get(light), "ci"),
            cell(printed.get(light), "ppl_drop_pct"),
            cell(printed.get(light), "saved_flops_pct"),
        ]
        for light in ours | printed
    ]
    columns = ["light model", *OURS, "PPL drop (%)", "saved FLOPs (%)", *CHANGE]
    columns += ["paper gen-PPL", "paper ±", "paper PPL drop (%)", "paper saved FLOPs (%)"]
    return Table(contents.title("table1"), columns, rows, setting(documents, need))


def table2(documents: Documents) -> Table:
    """Sandwiches by fraction of light steps: quality, FLOPs and time. The paper prints no intervals
    here.
    """
    need = contents.TABLES["table2"].need
    document = documents.get(need)
    printed = {row["light_pct"]: row for row in paper()["table2_light_fraction"]["rows"]}
    ours = by_fraction(document) if document else {}
    rows = [
        [
            f"{percent}%",
            *with_half(ours.get(percent), "gen_ppl"),
            cell(ours.get(percent), "saved_flops", 100),
            cell(ours.get(percent), "seconds"),
            cell(ours.get(percent), "saved_seconds", 100),
            *with_half(ours.get(percent), "log_ppl_diff"),
            cell(printed.get(percent), "gen_ppl"),
            cell(printed.get(percent), "saved_flops_pct"),
            cell(printed.get(percent), "time_s"),
            cell(printed.get(percent), "speedup_pct"),
            log_change(printed[percent], printed[0]) if percent in printed else None,
        ]
        for percent in sorted(ours | printed)
    ]
    columns = ["light steps", *OURS, "saved FLOPs (%)", "seconds", "speedup (%)", *CHANGE]
    columns += ["paper gen-PPL", "paper saved FLOPs (%)", "paper seconds", "paper speedup (%)"]
    columns += ["paper log-PPL change"]
    note = f"{setting(documents, need)} Speedup: seconds saved in % of all-heavy."
    return Table(contents.title("table2"), columns, rows, note)


BUILDS: dict[str, Callable[[Documents], Table]] = {
    "table1": table1,
    "table2": table2,
    "table3": schedules_table("table3", "table3_prefix_256"),
    "table4": schedules_table("table4", "table4_lm1b"),
    "table5": schedules_table("table5", "table5_unconditional_entropy"),
    "table6": schedules_table("table6", "table6_prefix_128"),
    "policies-table": policies_table,
}
