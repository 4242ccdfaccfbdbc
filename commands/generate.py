"""`stepimp generate`: text with a schedule."""

import json
import time

import click

from ._options import model_options
from ._print import print_json
from ._progress import progress, status, stderr


@click.command()
@click.option("--schedule", help="Such as L125,H750,L125 or 4b:250,12b:750.  [default: the newest recommendation]")
@click.option("--heavy", default="12b", show_default=True, help="The model H stands for.")
@click.option("--light", default="4b", show_default=True, help="The model L stands for.")
@click.option("--steps", type=click.IntRange(min=1), help="T, to check the schedule against.")
@click.option("--samples", type=click.IntRange(min=1), default=4, show_default=True, help="How many texts.")
@click.option("--length", type=click.IntRange(min=1), help="Tokens per text.  [default: the models' maximum]")
@click.option("--prefix", default="", help="Text that each sample starts with.")
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Sequences per forward pass.")
@click.option("--precision", type=click.Choice(["exact", "mdlm"]), default="exact", show_default=True,
              help="exact: float64 Gumbel-max. mdlm: the published sampler, for comparison with published numbers only: bf16 "
              "log-probabilities and 32-bit Gumbel noise over V+1 outcomes, which cuts off unlikely tokens and so lowers "
              "gen-PPL and entropy; it is also many times slower.")
@click.option("--watch", is_flag=True, help="Show the first sample filling in as it denoises.")
@model_options
def generate(schedule, heavy, light, steps, samples, length, prefix, batch_size, precision, watch, family, device, dtype,
             attention, seed, out, as_json):
    """Generate text with a model schedule, and save it as JSON Lines.

    Sampling is exact: a sample depends on the seed, its index, the models, the schedule and the prefix alone, not on
    the batch size or a restart. A killed run goes on where it was.

    \b
    Example:
      stepimp generate --schedule L125,H750,L125 --samples 16 --prefix "The module "
    """  # fmt: skip
    from stepimp.schedule import parse

    if schedule is None:
        schedule, heavy, light, family, expected = recommended(out, family)
    else:
        expected = {}
    plan = parse(schedule, heavy, light, steps)
    if watch and precision == "mdlm":
        raise click.BadParameter("--watch needs --precision exact.", param_hint="--watch")
    status("Loading models ...")
    from stepimp.errors import StepimpError
    from stepimp.family import family_folder, load
    from stepimp.results import Run, results_folder

    results_folder(out)
    members = load(plan.models, family_folder(family), device, dtype, attention)
    for name, weights in members.fingerprints.items():
        if expected.get(name, weights) != weights:
            raise StepimpError(f"The newest recommendation was made for other weights of {name}: run stepimp recommend again.")
    length = length or min(model.max_length for model in members.denoisers.values())
    params = dict(schedule=plan.format(heavy, light), heavy=heavy, light=light, samples=samples, length=length, prefix=prefix,
                  precision=precision, seed=seed, dtype=dtype, family=family)  # fmt: skip
    run = Run(out, "generate", params, {"models": members.fingerprints}, members.any.device, dtype)
    started = time.perf_counter()
    texts, counts = draw_texts(members, plan, run, batch_size, watch)
    seconds = time.perf_counter() - started
    from stepimp.results import write_atomically

    write_atomically(run.path.with_suffix(".jsonl"), "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in texts))
    tokens, forwards = counts.tokens.total(), counts.forwards.total()
    rate = tokens / seconds
    document = run.finish(
        [{"schedule": params["schedule"], "samples": samples, "tokens": tokens, "forwards": forwards,
          "batches": counts.batches, "seconds": seconds, "tokens_per_second": rate}],
        samples_file=run.path.with_suffix(".jsonl").name,
    )  # fmt: skip
    if as_json:
        return print_json(document)
    for one in texts:
        click.secho(f"--- {one['index']}", dim=True)
        click.echo(one["text"])
    naive = plan.steps * samples
    click.echo(f"{samples} samples with {params['schedule']}, {rate:,.0f} tokens/s, {forwards} forward passes "
               f"for {naive} sample-steps -> {run.path.with_suffix('.jsonl')}")  # fmt: skip


def recommended(out, family):
    """Schedule, heavy, light, family and fingerprints of the newest recommendation, which is made if there is none."""
    from stepimp.results import newest

    from .recommend import recommend

    where = ["--out", str(out), *(["--family", family] if family else [])]
    from pathlib import Path

    wanted = str(Path(family).resolve()) if family else None
    document = newest(out, "recommend", lambda d: d["params"]["family"] == wanted)
    if document is None:
        status("No recommendation yet: making one first.")
        with click.Context(recommend, info_name="recommend") as context:
            context.invoke(recommend, **{**recommend.make_context("recommend", [*where, "--json"]).params, "as_json": False})
        document = newest(out, "recommend", lambda d: d["params"]["family"] == wanted)
    params = document["params"]
    lights = params["lights"]
    return (document["rows"][0]["schedule"], params["heavy"], lights[0], params["family"],
            document["provenance"]["fingerprints"]["models"])  # fmt: skip


def draw_texts(members, plan, run, batch_size, watch):
    """All samples of a run, from its journal or drawn now, in the order of their index; and what the drawing cost."""
    import torch

    from stepimp import sampler
    from stepimp.published import sample_published

    params, journal = run.params, run.journal()
    prefix = None
    if params["prefix"]:
        prefix = torch.tensor(members.tokenizer(params["prefix"], add_special_tokens=False).input_ids)
    sampler.check(members.denoisers, plan, params["length"], prefix)
    counts, seed = sampler.Counts(), params["seed"]
    if watch and "0" not in journal.done:
        journal.add("0", watch_one(members, plan, params["length"], seed, prefix, counts))
    left = [i for i in range(params["samples"]) if str(i) not in journal.done]
    total = len(left) * (params["length"] - (0 if prefix is None else len(prefix)))
    with progress("tokens") as moved, torch.no_grad():
        if params["precision"] == "mdlm":
            for start in range(0, len(left), batch_size):
                part = left[start : start + batch_size]
                drawn = sample_published(members.denoisers, plan, part, params["length"], seed=seed, prefix=prefix, counts=counts)
                counts.tokens["published"] += total * len(part) // len(left)
                for index, tokens in zip(part, drawn.tolist()):
                    journal.add(str(index), tokens)
                moved(counts.tokens.total(), total)
        else:
            first = members.any
            state = sampler.begin(left, params["length"], plan.steps, first.mask_id, seed, prefix, first.device)
            done_before = counts.tokens.total()
            for row in sampler.advance(state, members.denoisers, plan, seed=seed, batch_size=batch_size, counts=counts):
                journal.add(str(left[row]), state.z[row].tolist())
                moved(counts.tokens.total() - done_before, total)
    ordered = [(i, journal.done[str(i)]) for i in range(params["samples"])]
    return [{"index": i, "tokens": t, "text": members.tokenizer.decode(t)} for i, t in ordered], counts


def watch_one(members, plan, length, seed, prefix, counts):
    """Draws sample 0 in parts and shows it after each."""
    from rich.live import Live
    from rich.text import Text

    from stepimp import sampler

    first = members.any
    state = sampler.begin([0], length, plan.steps, first.mask_id, seed, prefix, first.device)
    names = plan.by_step()
    with Live(console=stderr, refresh_per_second=20) as live:
        while state.clock:
            model = names[state.clock - 1]
            stop = max(0, state.clock - max(1, plan.steps // 100))
            list(sampler.advance(state, members.denoisers, plan, stop, seed=seed, counts=counts))
            text = Text(f"step {stop} of {plan.steps}, {model}\n", style="dim")
            for masked, run in runs_of(state.z[0].tolist(), first.mask_id):
                text.append("░" * len(run) if masked else members.tokenizer.decode(run), style="dim" if masked else "default")
            live.update(text)
    return state.z[0].tolist()


def runs_of(tokens, mask_id):
    """(is masked, tokens) for each run of masked or unmasked tokens."""
    from itertools import groupby

    return [(masked, list(run)) for masked, run in groupby(tokens, key=lambda token: token == mask_id)]
