"""`stepimp evaluate`: how good generated text is."""

import click

from ._options import device_options, family_option, judge_option, output_options
from ._print import banded, print_json
from ._progress import progress, status


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@judge_option
@click.option(
    "--compat",
    type=click.Choice(["mdlm"]),
    help="Score as the MDLM repository does, for comparison with its numbers: text is cut at as many tokens as "
    "the samples have, read in chunks of 1024 whose first token is not scored, padded with end-of-text, of "
    "which the first in a chunk counts; prefixes are scored, and samples beyond the last whole batch are "
    "dropped. Its number is the corpus-level one.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Texts per forward pass.",
)
@family_option
@device_options
@output_options
def evaluate(file, judge, compat, batch_size, family, device, dtype, seed, out, as_json):
    """Generative perplexity under a judge, and entropy, of generated text.

    FILE is a results file of `stepimp generate` or JSON Lines with a "text" each (and "tokens", and
    "prefix"); without it, the newest results of `stepimp generate` in --out.

    The judge tokenises the text anew. gen-PPL is the mean over samples of exp(nats per token),
    corpus PPL exp(all nats / all tokens), each with its 95% interval over samples. The first token
    of a text is not scored, since nothing stands before it; a prefix conditions and is not scored.
    An end-of-text token is scored like any other, and so is what follows it. No sample is dropped:
    one with nothing to score counts as one token of probability 1/V, and is reported. Entropy is
    that of the token frequencies within a sample, prefix included, in nats.

    \b
    Example:
      stepimp evaluate
      stepimp evaluate results/generate-0123abcd.jsonl --judge gpt2-large --compat mdlm
    """
    from stepimp.errors import StepimpError
    from stepimp.quality.samples_file import read_samples
    from stepimp.results import Run, newest, results_folder

    results_folder(out)
    if file is None:
        document = newest(out, "generate")
        if document is None:
            raise StepimpError(
                f"No generated text in {out}: run stepimp generate first, or give a samples FILE."
            )
        file = document["path"]
    samples = read_samples(file)
    origin = samples.document["params"] if samples.document else {}
    status("Loading the judge ...")
    from stepimp.models.family import family_folder
    from stepimp.quality import evaluation
    from stepimp.quality.judge import judge_of, load_judge
    from stepimp.text.cache import digest

    scorer = load_judge(
        judge or judge_of(family_folder(family or origin.get("family"))), device, dtype
    )
    params = dict(
        samples_file=samples.path.name,
        judge=scorer.name,
        compat=compat,
        batch_size=batch_size,
        seed=seed,
        dtype=dtype,
    )
    fingerprints = {"judge": scorer.fingerprint, "data": digest(*samples.prefixes, *samples.texts)}
    run = Run(out, "evaluate", params, fingerprints, scorer.model.device, dtype)
    with progress("texts") as moved:
        row, each = evaluation.evaluate(scorer, samples, compat, batch_size, run.journal(), moved)
    row = {"schedule": origin.get("schedule"), **row}
    document = run.finish([row], per_sample=each)
    if as_json:
        return print_json(document)
    if row["empty"]:
        click.echo(
            f"{row['empty']} samples had nothing to score and count as one token of probability 1/V.",
            err=True,
        )
    if dropped := len(samples.texts) - row["samples"]:
        click.echo(
            f"{dropped} samples beyond the last whole batch of {batch_size} were dropped, as there.",
            err=True,
        )
    drawn = f" with {row['schedule']}" if row["schedule"] else ""
    click.echo(
        f"{row['samples']} samples{drawn}, judge {scorer.name}: gen-PPL {banded(row, 'gen_ppl', 2)}, corpus PPL "
        f"{banded(row, 'corpus_ppl', 2)}, entropy {banded(row, 'entropy_nats', 2)} nats -> "
        f"{document['path']}"
    )
