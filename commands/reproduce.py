"""`stepimp reproduce`: all measurements of the paper, one command after another, then all figures and tables."""

import click

SCALES = {  # options by command, T, and T on the LM1B role
    "quick": ({"loss": ["--sequences", "100"], "kl": ["--sequences", "100"], "compare": ["--samples", "32"],
               "search": ["--samples", "16"], "profile": ["--samples", "8"]}, 100, 100),
    "full": ({"loss": ["--sequences", "500"], "kl": ["--sequences", "500"], "compare": ["--samples", "1600"],
              "search": ["--samples", "160"], "profile": ["--samples", "32"]}, 1000, 128),
}  # fmt: skip


@click.command()
@click.option("--scale", type=click.Choice(list(SCALES)), default="quick", show_default=True,
              help="quick: minutes on two CPU cores. full: the paper's protocol, 1600 samples per schedule and T = 1000.")
@click.option("--family", type=click.Path(file_okay=False), envvar="STEPIMP_FAMILY",
              help="Family in the role of the paper's. [env: STEPIMP_FAMILY; default: the bundled family]")
@click.option("--results", type=click.Path(file_okay=False), envvar="STEPIMP_RESULTS", default="results",
              show_default=True, help="Folder of the results files. [env: STEPIMP_RESULTS]")
@click.option("--out", type=click.Path(file_okay=False), default="figures", show_default=True,
              help="Folder the figures are written to.")
@click.pass_context
def reproduce(ctx, scale, family, results, out):
    """Make all results the paper's figures and tables need, then draw and write them.

    What is there already is not made again, and an interrupted call goes on where it was. The paper's LM1B is a family
    called code; without one its comparison is left out.

    \b
    Example:
      stepimp reproduce --scale quick
    """  # fmt: skip
    import os
    import shlex
    import subprocess
    import sys

    from stepimp.results import results_folder

    from .figures import figures

    environment = os.environ | {"STEPIMP_RESULTS": str(results_folder(results))}
    environment.pop("STEPIMP_FAMILY", None)  # each command line says what it is of
    commands, failed = plan(scale, family), []
    for number, (arguments, folder) in enumerate(commands, 1):
        line = shlex.join(["stepimp", *arguments])
        if is_there(results, arguments, folder):
            click.echo(f"Step {number} of {len(commands)} is there: {line}", err=True)
            continue
        click.echo(f"Step {number} of {len(commands)}: {line}", err=True)
        if subprocess.run([sys.executable, "-m", "stepimp", *arguments], env=environment).returncode:
            failed.append(line)
    ctx.invoke(figures, results=results, family=family, out=out)
    if failed:
        raise click.ClickException(f"Failed: {'; '.join(failed)}. The same command goes on from there.")


def plan(scale: str, family: str | None) -> list[tuple]:
    """(arguments of stepimp, folder of the family) of each command."""
    from stepimp.documents import LM1B, NEEDS, family_options, recipe
    from stepimp.family import MANIFEST, family_folder

    sizes, steps, lm1b_steps = SCALES[scale]
    length, found = sample_length(family_folder(family)), []
    for need, (command, _) in NEEDS.items():
        folder = family_folder(LM1B if need == "lm1b" else family)
        if need == "lm1b" and not (folder / MANIFEST).exists():
            continue
        own = lm1b_steps if need == "lm1b" else steps
        timed = [] if command in ("loss", "kl") else ["--steps", str(own)]
        found.append(([*recipe(need, own, length), *timed, *sizes.get(command, []), *family_options(need, family)], folder))
    return found


def sample_length(family) -> int:
    """Tokens of a sample: the most that the family's models take."""
    import json

    from stepimp.family import read_manifest

    configs = [json.loads((family / name / "config.json").read_text("utf-8")) for name in read_manifest(family)["members"]]
    return min((config["model_length"] for config in configs if "model_length" in config), default=1024)


def is_there(results, arguments: list[str], family) -> bool:
    """Whether this very command line made a document, and the family has not been trained since."""
    import shlex
    from pathlib import Path

    from stepimp.family import MANIFEST
    from stepimp.results import read_document

    trained = (family / MANIFEST).stat().st_mtime if (family / MANIFEST).exists() else 0.0
    documents = [path for path in Path(results).glob(f"{arguments[0]}-*.json") if path.stat().st_mtime >= trained]
    return any(shlex.split(read_document(path)["provenance"]["command_line"])[1:] == arguments for path in documents)
