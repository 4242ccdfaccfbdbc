"""The table of a comparison of policies, which the paper does not have: ways to use two models at
equal mean cost.
"""

from stepimp.paper import contents
from stepimp.paper.cells import Documents, Table, cell, with_half
from stepimp.paper.describe import family_name, judge_name, origin
from stepimp.paper.recipes import made_by

COLUMNS = {
    "cost (heavy passes)": "heavy_forwards",
    "heavy passes": "forwards_heavy",
    "light passes": "forwards_light",
    "heavy calls in sequence": "sequential_heavy",
    "predicted path KL": "predicted_path_kl_nats",
    "predicted NELBO": "predicted_nelbo_nats",
    "NELBO": "nelbo_nats",
}
DIFFERENCES = ["NELBO to best over steps", "NELBO ±"]
SAMPLES = ["gen-PPL", "gen-PPL ±", "log-PPL to best over steps", "log-PPL ±", "seconds"]


def compared(document: dict) -> str:
    """Models, text, samples and judge behind a comparison of policies."""
    params = document["params"]
    return (
        f"{origin(document)}Family {family_name(document)}, heavy {params['heavy']}, light "
        f"{params['light']}, {params['save_flops']:.0%} of the FLOPs to save; NELBO on "
        f"{params['sequences']} held-out sequences that chose no policy; {params['samples']} "
        f"samples per policy of {params['length']} tokens; T = {params['steps']}; "
        f"{judge_name(document)}; stepimp {document['provenance']['version']}."
    )


def policies_table(documents: Documents) -> Table:
    """A row for each policy, the numbers per sample; without a document no rows."""
    document = documents.get("policies")
    columns = ["policy", "as written", *COLUMNS, *DIFFERENCES, "verdict", *SAMPLES]
    title = contents.title("policies-table")
    if not document:
        command = made_by("policies", documents=documents)
        return Table(title, columns, [], f"No results yet: {command} makes them.")
    rows = [
        [
            row["name"],
            row["policy"],
            *(cell(row, column) for column in COLUMNS.values()),
            *with_half(row, "nelbo_diff_nats"),
            row["verdict"],
            *with_half(row, "gen_ppl"),
            *with_half(row, "log_ppl_diff"),
            cell(row, "seconds", 1 / document["params"]["samples"]),
        ]
        for row in document["rows"]
    ]
    note = (
        f"{compared(document)} Passes, calls and seconds are per sample, NELBO and path KL in nats "
        "per token; a cost counts blocks. ±: half of the 95% interval; those of the NELBO hold "
        "jointly for the policies at equal cost, and give the verdict. "
        "The paper has schedules over steps alone."
    )
    return Table(title, columns, rows, note)
