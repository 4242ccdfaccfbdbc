"""`stepimp evaluate`: how good generated text is."""

import click

from stepimp.wording import counted

from ._options import (
    count_option,
    device_options,
    family_option,
    judge_option,
    output_options,
    piped,
)
from ._print import banded, print_json, warn_of_empty
from ._progress import progress, status
from ._workers import workers_option


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False), callback=piped)
@click.option(
    "--text-column",
    "column",
    default="text",
    show_default=True,
    help="Where the text is in each object of FILE; a.b is the field b of the field a.",
)
@judge_option
@click.option(
    "--compat",
    type=click.Choice(["mdlm"]),
    help="Score as the MDLM repository does, for comparison with its numbers: text is cut at the "
    "length of the samples in tokens, read in chunks of 1024 whose first token is not scored, "
    "padded with end-of-text, of which the first in a chunk counts; prefixes are scored, and "
    "samples beyond the last whole batch are dropped. Its number is the corpus-level one.",
)
@count_option("--batch-size", default=16, help="Texts per forward pass.")
@family_option
@device_options
@output_options
@workers_option
def evaluate(as_json, **options):
    """Gen-PPL under a judge, and entropy, of generated text.

    FILE is a results file of `stepimp generate` or JSON Lines with a "text" each (and "tokens", and
    "prefix"); without it, the newest results of `stepimp generate` in --out.

    The judge tokenises the text anew. gen-PPL is the mean over samples of exp(nats per token),
    corpus PPL exp(all nats / all tokens), each with its 95% interval over samples. The first token
    of a text is not scored, since nothing is before it; a prefix conditions and is not scored. An
    end-of-text token is scored like any other, and so is what follows it. No sample is dropped: one
    with nothing to score counts as one token of probability 1/V, and is reported. Entropy is that
    of the token frequencies within a sample, prefix included, in nats.

    \b
    Example:
      stepimp evaluate
      stepimp evaluate results/generate-0123abcd.jsonl --judge gpt2-large
    """
    status("Loading the judge ...")
    from stepimp.quality.evaluation import EvaluateOptions, evaluate_file

    with progress("texts") as report:
        document = evaluate_file(EvaluateOptions(**options), report)
    if as_json:
        return print_json(document)
    show(document)


def show(document: dict):
    """What was found, in a line."""
    (row,), params = document["rows"], document["params"]
    warn_of_empty(row["empty"])
    if document["dropped"]:
        click.echo(
            f"Dropped, as the MDLM repository does: {counted(document['dropped'], 'sample')} "
            f"beyond the last whole batch of {params['batch_size']}.",
            err=True,
        )
    drawn = f" with {row['schedule']}" if row["schedule"] else ""
    click.echo(
        f"{counted(row['samples'], 'sample')}{drawn}, judge {params['judge']}: gen-PPL "
        f"{banded(row, 'gen_ppl', 2)}, corpus PPL {banded(row, 'corpus_ppl', 2)}, entropy "
        f"{banded(row, 'entropy_nats', 2)} nats -> {document['path']}"
    )
