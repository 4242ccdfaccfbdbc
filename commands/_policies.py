"""`stepimp compare --policies`: ways to use two models, at equal mean cost."""

from functools import partial

import click

from ._curves import measure_first
from ._long import confirm
from ._options import usage_errors
from ._print import banded, print_json, print_table, rounded
from ._progress import progress


def compare_policies(heavy: str, lights: tuple[str, ...], as_json: bool, yes: bool, options: dict):
    """Compares them and shows the document. options: those of `stepimp compare`."""
    from stepimp.quality.policies import compare_policies
    from stepimp.quality.policy_choice import PolicyOptions

    others = {"schedules": "--schedule", "prefix_length": "--prefix-length"}
    others["column"] = "--text-column"
    sizes = dict(options)
    for name in ("schedules", "fractions", "prefix_length", "data", "column", "length"):
        if options.pop(name):
            option = others.get(name, f"--{name}")
            raise click.UsageError(f"--policies cannot be combined with {option}.")
    if len(lights) > 1:
        raise click.UsageError("--policies compares two models: give one --light.")
    confirm(sizes | {"heavy": heavy, "lights": lights}, yes)
    with usage_errors():
        chosen = PolicyOptions(heavy=heavy, light=lights[0], **options)
    with progress("batches") as report:
        document = compare_policies(chosen, partial(measure_first, chosen), report)
    if as_json:
        return print_json(document)
    show(document)


def show(document: dict):
    """The tables, and a verdict on each policy."""
    from stepimp.quality.policy_choice import AT_EQUAL_COST

    params, rows = document["params"], document["rows"]
    heavy, light = params["heavy"], params["light"]
    click.echo(
        f"{heavy} and {light}, T = {params['steps']}, {params['save_flops']:.0%} of the FLOPs to "
        f"save, curves {params['curves']}"
    )
    print_table(
        f"NELBO in nats per token, predicted and measured on {params['sequences']} other sequences",
        ["", "policy", "predicted", "path KL", "measured", "to best over steps", "verdict"],
        [
            [row["name"], row["policy"]]
            + [banded(row, f"predicted_{name}", 4) for name in ("nelbo_nats", "path_kl_nats")]
            + [banded(row, "nelbo_nats", 4), banded(row, "nelbo_diff_nats", 4), row["verdict"]]
            for row in rows
        ],
        spare=("policy", "path KL", "predicted"),
    )
    print_table(
        f"{params['samples']} samples each; cost and passes per sample, cost in passes of {heavy}",
        ["", "cost", heavy, light, "in sequence", "seconds", "gen-PPL", "log-PPL diff"],
        [
            [row["name"], f"{row['heavy_forwards']:.1f}", f"{row['forwards_heavy']:.1f}"]
            + [f"{row['forwards_light']:.1f}", f"{row['sequential_heavy']:.1f}"]
            + [f"{row['seconds']:.1f}", rounded(row, "gen_ppl"), banded(row, "log_ppl_diff", 3)]
            for row in rows
        ],
        spare=("seconds", "in sequence", "gen-PPL"),
    )
    for row in rows:
        if row["name"] in AT_EQUAL_COST:
            click.echo(sentence(row))
    click.echo(f"Policies compared -> {document['path']}")


def sentence(row: dict) -> str:
    """The verdict on a policy in a sentence."""
    outcome = {
        "better": "beats the best schedule over steps",
        "not better": "does not beat the best schedule over steps",
        "worse": "is worse than the best schedule over steps",
    }[row["verdict"]]
    return f"{row['name']}: {outcome}, {banded(row, 'nelbo_diff_nats', 4)} nats per token."
