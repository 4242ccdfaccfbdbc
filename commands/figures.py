"""`stepimp figures`: every figure, table and claim of the paper whose results are there."""

import click

from ._progress import progress

NAMES = [
    *(f"figure{n}" for n in range(1, 15)),
    "recommended",
    "tradeoff",
    "profile",
    *(f"table{n}" for n in range(1, 7)),
    "claims",
]


class Names(click.ParamType):
    """Names from NAMES, separated by commas; a number is a figure's."""

    name = "name,..."

    def convert(self, value, param, ctx):
        asked = [
            f"figure{one}" if one.isdigit() else one for one in value.replace(" ", "").split(",")
        ]
        for one in asked:
            if one not in NAMES:
                self.fail(f"{one!r} is none of 1 to 14, {', '.join(NAMES[14:])}.", param, ctx)
        return asked


@click.command()
@click.option("--only", type=Names(), help="These alone, such as 5,12,table3.  [default: all]")
@click.option(
    "--results",
    type=click.Path(file_okay=False),
    envvar="STEPIMP_RESULTS",
    default="results",
    show_default=True,
    help="Folder of the results files. [env: STEPIMP_RESULTS]",
)
@click.option(
    "--family",
    type=click.Path(file_okay=False),
    envvar="STEPIMP_FAMILY",
    help="Family whose results are drawn. [env: STEPIMP_FAMILY; default: the bundled family]",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    default="figures",
    show_default=True,
    help="Folder the figures are written to.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print what was written and what is missing as JSON."
)
def figures(only, results, family, out, as_json):
    """Draw the paper's figures from the newest results files, and write its tables, beside the
    published numbers.

    Figures are PNG, PDF and SVG; tables, and a verdict on each claim of the paper, are Markdown,
    CSV and LaTeX. Beside them report.html holds it all, with an explorer of schedules, in one page
    that needs no network; --only leaves it alone. No model is loaded. What has no results yet is
    named with the command that makes them.

    \b
    Example:
      stepimp figures --results results --out figures
      stepimp figures --only 5,12,table3
    """
    import json

    from stepimp.errors import StepimpError
    from stepimp.paper import claims
    from stepimp.paper.needs import find_documents, made_by
    from stepimp.paper.tables import TABLE_NEEDS
    from stepimp.plots.figures import FIGURES
    from stepimp.results import results_folder

    found = find_documents(results, family)
    if not any(found.values()):
        raise StepimpError(
            f"No results in {results} to draw from. Run `stepimp reproduce` for all of them or such as "
            f"`{made_by('kl', family)}`, or name --results DIR."
        )
    needs = {name: own for name, (own, _) in FIGURES.items()} | {
        name: (need,) for name, need in TABLE_NEEDS.items()
    }
    folder, made, written, missing = results_folder(out), {}, {}, {}
    asked = only or NAMES
    with progress("figures and tables") as moved:
        for done, name in enumerate(asked):
            moved(done, len(asked))
            lacking = [need for need in needs.get(name, ()) if not found[need]]
            if lacking:
                missing[name] = [made_by(need, family, found) for need in lacking]
            else:
                made[name], files = make(name, found, needs.get(name, ()), folder)
                written[name] = [str(path) for path in files]
    verdicts = claims.claims(found) if "claims" in written else []
    if not only:
        written["report"] = [str(write_report(made, verdicts, found, missing, folder))]
    if as_json:
        click.echo(
            json.dumps({"written": written, "missing": missing, "claims": verdicts}, indent=1)
        )
    else:
        show(written, missing, verdicts)
    if not written:
        raise SystemExit(1)


def make(name: str, found: dict, needs, folder) -> tuple:
    """Draws a figure or writes a table: the Figure or Table, and its files."""
    from stepimp.paper import claims, tables
    from stepimp.paper.needs import incomplete
    from stepimp.plots.figures import FIGURES
    from stepimp.plots.style import house, save

    try:
        if name in FIGURES:
            with house():
                figure = FIGURES[name][1](*(found[need] for need in needs))
                return figure, save(figure, folder, name)
        table = (
            claims.as_table(claims.claims(found))
            if name == "claims"
            else tables.TABLES[name][1](found)
        )
    except LookupError as error:
        raise incomplete([found[need] for need in needs or found if found[need]], error) from None
    return table, tables.save(table, folder, name)


def write_report(made: dict, verdicts: list[dict], found: dict, missing: dict, folder):
    """The page of all that was made. made: {name: Figure or Table}."""
    from stepimp.paper.needs import incomplete
    from stepimp.paper.tables import TABLES, text
    from stepimp.plots.figures import FIGURES
    from stepimp.plots.report import inline, page
    from stepimp.results import write_atomically

    figures = {name: inline(made[name], name) for name in FIGURES if name in made}
    tables = [
        {"name": name}
        | vars(made[name])
        | {"rows": [[text(cell) for cell in row] for row in made[name].rows]}
        for name in TABLES
        if name in made
    ]
    documents = {document["path"]: document for document in found.values() if document}
    absent = missing if found["recommend"] else {"explorer": missing["tradeoff"]} | missing
    try:
        whole = page(figures, tables, verdicts, list(documents.values()), absent)
    except LookupError as error:
        raise incomplete([found["recommend"]], error) from None
    write_atomically(folder / "report.html", whole)
    return folder / "report.html"


def show(written: dict, missing: dict, verdicts: list[dict]):
    """A line per figure and table, then one per claim."""
    for name, paths in written.items():
        click.echo(f"{name}: {', '.join(paths)}")
    for name, commands in missing.items():
        click.echo(f"{name}: not drawn, its results are missing; run: {', then '.join(commands)}")
    for number, one in enumerate(verdicts, 1):
        needs = f" Run: {one['needs']}" if one["needs"] else ""
        click.echo(f"claim {number}: {one['verdict']}: {one['reason']}{needs}")
