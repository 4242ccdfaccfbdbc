"""`stepimp reproduce`: all measurements of the paper, several at once, and all figures and tables
as their results are there.
"""

from contextlib import closing

import click

from ._long import confirm_steps
from ._options import choice_option, figures_option, json_option, results_option, yes_option
from ._work import cores

SCALES = ("quick", "full")
DTYPES = ("auto", "float32", "bfloat16")


@click.command()
@choice_option(
    "--scale",
    choices=SCALES,
    default="quick",
    help="quick: a quarter of an hour on two cores. full: the paper's protocol, 1600 samples per "
    "schedule.",
)
@choice_option(
    "--dtype",
    choices=DTYPES,
    default="auto",
    help="Dtype of the models that comparisons and the search sample from. auto: bfloat16 where "
    "this machine runs the family much faster in it, else float32. Curves are always float32.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Commands that run at once, each on one thread.  [default: the cores]",
)
@click.option(
    "--family",
    type=click.Path(file_okay=False),
    envvar="STEPIMP_FAMILY",
    help="Family in the role of the paper's. [env: STEPIMP_FAMILY; default: the bundled family]",
)
@results_option
@figures_option
@json_option("Print what was written and what is missing as JSON on stdout and nothing else.")
@yes_option
@click.pass_context
def reproduce(ctx, scale, dtype, workers, family, results, out, as_json, yes):
    """Make all results, figures and tables of the paper.

    First the run that is shipped with stepimp is drawn, and each figure says so; as a measurement
    ends, its figures and tables are made again from it. Results that are there already are not made
    again, and an interrupted call continues. In the end a table says what is resolved at 95%, and
    what would resolve the rest. The paper's LM1B is a family called code; without one its part is
    left out.

    \b
    Example:
      stepimp reproduce --scale quick
    """
    from stepimp.paper.contents import CLAIMS
    from stepimp.paper.needs import find_documents
    from stepimp.results import results_folder

    from ._edition import Edition
    from ._progress import log, status
    from ._protocol import is_there, plan
    from .figures import as_json_text, show

    status("Looking at what is there ...")
    steps = plan(scale, family, ctx.find_root().command, dtype)
    results_folder(results)
    edition = Edition(results_folder(out), {}, family)
    draw(edition, shipped(family) | present(find_documents(results, family)))
    edition.write_report()
    titles = {step: title(step, number, len(steps)) for number, step in enumerate(steps, 1)}
    open_steps = [step for step in steps if not is_there(results, step)]
    for step in steps:
        if step not in open_steps:
            log(f"{titles[step]} (there already)")
    workers = workers or cores()
    confirm_steps(open_steps, workers, yes)
    failed = []
    # Closed by an interrupt while figures are drawn, it ends the running steps.
    with closing(run_shown(open_steps, titles, workers, results, as_json)) as ending:
        for ended in ending:
            if ended.code:
                failed.append(command_line(ended.step))
            else:
                draw(edition, present(find_documents(results, family)), ended.step.needs)
    edition.make(CLAIMS)
    edition.write_report()
    if as_json:
        click.echo(as_json_text(edition, edition.claims()))
    else:
        show(edition, edition.claims())
        show_resolution(edition.documents, family)
    if failed:
        raise click.ClickException(
            f"Failed: {'; '.join(failed)}. The same command continues from there."
        )


def run_shown(steps, titles: dict, workers: int, results: str, as_json: bool):
    """Runs steps under one bar and prints what each of them prints; yields each as it ends.

    titles: what the bar calls each step.
    """
    from pathlib import Path

    from ._overall import Overall
    from ._steps import run_steps

    overall = Overall(sum(step.work for step in steps))
    ending = run_steps(
        steps,
        workers,
        Path(results),
        lambda step: overall.started(titles[step]),
        lambda step, done, total: overall.report(titles[step], step.work * done / total),
    )
    with overall, closing(ending):
        for ended in ending:
            overall.report(titles[ended.step], ended.step.work)
            with overall.paused():
                click.echo(ended.output, nl=False, err=as_json)
                click.echo(ended.errors, nl=False, err=True)
            yield ended


def command_line(step) -> str:
    """The command line of a step."""
    import shlex

    return shlex.join(["stepimp", *step.arguments])


def title(step, number: int, count: int) -> str:
    """What the bar calls a step."""
    return f"Step {number} of {count}: {command_line(step)}"


def shipped(family: str | None) -> dict[str, dict]:
    """{need: document} of the run shipped with stepimp, which is on the bundled family docs."""
    from stepimp.models.family import family_folder
    from stepimp.paper.describe import reference_folder
    from stepimp.paper.needs import find_documents

    if family_folder(family).resolve() != family_folder().resolve():
        return {}
    return present(find_documents(reference_folder()))


def present(documents: dict[str, dict | None]) -> dict[str, dict]:
    """The documents that there are."""
    return {need: document for need, document in documents.items() if document}


def draw(edition, documents: dict[str, dict], needs=None):
    """Takes over documents, and makes the figures and tables of these needs, by default all."""
    from stepimp.paper.contents import CLAIMS, DRAWN, TABLES, names_for
    from stepimp.paper.needs import NEEDS

    edition.documents = dict.fromkeys(NEEDS) | edition.documents | documents
    for name in names_for(edition.documents):
        if name == CLAIMS:
            if needs is None:
                edition.make(name)
        elif needs is None or (DRAWN | TABLES)[name].need in needs:
            edition.make(name)


def show_resolution(documents: dict, family: str | None):
    """What the results measured here resolve at 95%, and the command that would resolve the rest,
    with its expected time by the rate of this machine.
    """
    from stepimp.paper.resolution import MOST, effects
    from stepimp.wording import duration

    from ._print import print_table

    rows, more = [], []
    for effect in effects(documents):
        answer = "yes" if effect.resolved else "no"
        what = f"{effect.where}: {effect.what}"
        rows.append([what, effect.estimate.text(3), answer])
        if effect.count_needed is None:
            more.append(f"{effect.where}: more than {MOST} times the samples.")
        elif not effect.resolved:
            line, took = more_samples(effect, family), duration(effect.seconds_needed)
            more.append(f"{effect.where}: about {took}: {line}")
    if rows:
        print_table("What is resolved at 95%", ["effect", "measured", "resolved"], rows)
    if more:
        click.echo("What would resolve the rest, if it is as large as measured:")
        click.echo("\n".join(more))


def more_samples(effect, family: str | None) -> str:
    """The command that measures enough to resolve an effect as large as measured."""
    import shlex

    from stepimp.paper.needs import NEEDS
    from stepimp.paper.recipes import arguments

    size = "--sequences" if NEEDS[effect.need][0] in ("loss", "kl") else "--samples"
    line = arguments(effect.need, family, [size, str(effect.count_needed)], effect.light)
    return shlex.join(["stepimp", *line])
