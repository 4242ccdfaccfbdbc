"""`stepimp figures`: every figure whose results are there."""

import click


@click.command()
@click.option("--results", type=click.Path(file_okay=False), envvar="STEPIMP_RESULTS", default="results",
              show_default=True, help="Folder of the results files. [env: STEPIMP_RESULTS]")
@click.option("--out", type=click.Path(file_okay=False), default="figures", show_default=True,
              help="Folder the figures are written to.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written and what is missing as JSON.")
def figures(results, out, as_json):
    """Draw the paper's figures from the newest results files, each as PNG and PDF, and one page with all of them.

    The page, report.html, needs no network. No model is loaded. A figure whose results are not there yet is named with the command that makes them.

    \b
    Example:
      stepimp figures --results results --out figures
    """  # fmt: skip
    import json

    from stepimp.errors import StepimpError
    from stepimp.plots.figures import FIGURES, MADE_BY
    from stepimp.plots.report import inline, page
    from stepimp.plots.style import house, save
    from stepimp.results import newest, results_folder, write_atomically

    found = {kind: newest(results, kind) for kind in MADE_BY}
    if not any(found.values()):
        raise StepimpError(f"No results in {results} to draw from. Run `{MADE_BY['kl']}` first, or name --results DIR.")
    folder, written, missing, shown = results_folder(out), {}, {}, {}
    for name, (kinds, build) in FIGURES.items():
        lacking = [kind for kind in kinds if not found[kind]]
        if lacking:
            missing[name] = [MADE_BY[kind] for kind in lacking]
            continue
        try:
            with house():
                figure = build(*(found[kind] for kind in kinds))
                written[name] = [str(path) for path in save(figure, folder, name)]
                small_print, svg = inline(figure, name)
            shown[name] = (f"{build.__doc__} {small_print}", svg)
        except LookupError as error:
            sources = ", ".join(found[kind]["path"] for kind in kinds)
            raise StepimpError(f"{name}: {sources} is incomplete ({error}). Delete it and make it anew.") from None
    report = folder / "report.html"
    write_atomically(report, page(shown, [], [], [document for document in found.values() if document], missing))
    written["report"] = [str(report)]
    if as_json:
        click.echo(json.dumps({"written": written, "missing": missing}, indent=1))
        return
    for name, paths in written.items():
        click.echo(f"{name}: {', '.join(paths)}")
    for name, commands in missing.items():
        click.echo(f"{name}: not drawn, its results are missing; run: {', then '.join(commands)}")
