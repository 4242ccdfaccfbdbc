"""`stepimp figures`: every figure, table and claim of the paper whose results are there."""

import click

from ._options import figures_option, json_option, results_option
from ._progress import progress


class Names(click.ParamType):
    """Names of figures and tables, separated by commas; a number is a figure's."""

    name = "name,..."

    def convert(self, value, param, ctx):
        from stepimp.paper.contents import FIGURES, NAMES

        parts = value.replace(" ", "").split(",")
        names = [f"figure{part}" if part.isdigit() else part for part in parts]
        for name in names:
            if name not in NAMES:
                others = ", ".join(NAMES[len(FIGURES) :])
                self.fail(f"{name!r} is not one of 1 to {len(FIGURES)}, {others}.", param, ctx)
        return names


@click.command()
@click.option("--only", type=Names(), help="These alone, such as 5,12,table3.  [default: all]")
@results_option
@click.option(
    "--family",
    type=click.Path(file_okay=False),
    envvar="STEPIMP_FAMILY",
    help="Family whose results are drawn. [env: STEPIMP_FAMILY; default: the bundled family]",
)
@figures_option
@json_option("Print what was written and what is missing as JSON.")
def figures(only, results, family, out, as_json):
    """Draw the paper's figures and tables from results files.

    The newest results are drawn, beside the published numbers. Figures 1 to 14 and Tables 1 to 6
    are numbered as the paper's second version numbers them; our own figures and tables have names.
    Figures are PNG, PDF and SVG; tables, and a verdict on each claim of the paper, are Markdown,
    CSV and LaTeX. Beside them report.html holds it all, with an explorer of schedules, in one page
    that needs no network; --only leaves it alone. No model is loaded. What has no results yet is
    named with the command that makes them, except policies and policies-table, which appear once
    `stepimp compare --policies` has run.

    \b
    Example:
      stepimp figures --results results --out figures
      stepimp figures --only 5,12,table3
    """
    from stepimp.errors import StepimpError
    from stepimp.paper.contents import CLAIMS, names_for
    from stepimp.paper.needs import find_documents
    from stepimp.paper.recipes import made_by
    from stepimp.results import results_folder

    from ._edition import Edition

    documents = find_documents(results, family)
    if not any(documents.values()):
        raise StepimpError(
            f"No results in {results} to draw from. Run `stepimp reproduce` for all of them or "
            f"such as `{made_by('kl', family)}`, or name --results DIR."
        )
    edition, names = Edition(results_folder(out), documents, family), only or names_for(documents)
    with progress("figures and tables") as report:
        for done, name in enumerate(names):
            report(done, len(names))
            edition.make(name)
    if not only:
        edition.write_report()
    verdicts = edition.claims() if CLAIMS in edition.written else []
    if as_json:
        click.echo(as_json_text(edition, verdicts))
    else:
        show(edition, verdicts)
    if not edition.written:
        raise SystemExit(1)


def as_json_text(edition, verdicts: list[dict]) -> str:
    """What was written, what is missing, what the family lacks models for, and the claims."""
    import json

    made = {name: getattr(edition, name) for name in ("written", "missing", "lacking")}
    return json.dumps(made | {"claims": verdicts}, indent=1)


def show(edition, verdicts: list[dict]):
    """A line per figure and table, in the order of the paper, then one per claim."""
    from stepimp.paper.contents import NAMES

    for name in (*NAMES, "report"):
        if name in edition.written:
            click.echo(f"{name}: {', '.join(edition.written[name])}")
    for name, commands in edition.missing.items():
        click.echo(f"{name}: not drawn, its results are missing; run: {', then '.join(commands)}")
    for name, model in edition.lacking.items():
        click.echo(f"{name}: not drawn, the family would need {model}")
    for number, verdict in enumerate(verdicts, 1):
        needs = f" Run: {verdict['needs']}" if verdict["needs"] else ""
        click.echo(f"claim {number}: {verdict['verdict']}: {verdict['reason']}{needs}")
