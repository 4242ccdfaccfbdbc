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
    from stepimp.plots.report import inline
    from stepimp.plots.style import house, save
    from stepimp.results import newest, results_folder

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
    written["report"] = [str(write_report(folder, shown, [], [], found, missing))]
    if as_json:
        click.echo(json.dumps({"written": written, "missing": missing}, indent=1))
        return
    for name, paths in written.items():
        click.echo(f"{name}: {', '.join(paths)}")
    for name, commands in missing.items():
        click.echo(f"{name}: not drawn, its results are missing; run: {', then '.join(commands)}")


def write_report(folder, figures, tables, claims, found, missing):
    """The page of everything; see `stepimp.plots.report.page`. found: {need: document or None}."""
    from stepimp.errors import StepimpError
    from stepimp.plots.figures import MADE_BY
    from stepimp.plots.report import page
    from stepimp.results import write_atomically

    documents = {document["path"]: document for document in found.values() if document}
    if not found["recommend"]:
        missing = {"explorer": [MADE_BY["recommend"]]} | missing
    try:
        text = page(figures, tables, claims, list(documents.values()), missing)
    except LookupError as error:
        raise StepimpError(f"report: {found['recommend']['path']} is incomplete ({error}). Make it anew.") from None
    write_atomically(folder / "report.html", text)
    return folder / "report.html"
