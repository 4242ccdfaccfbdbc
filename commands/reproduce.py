"""`stepimp reproduce`: all measurements of the paper, one command after another, then all figures and tables."""

import click

SCALES = ("quick", "full")


@click.command()
@click.option("--scale", type=click.Choice(SCALES), default="quick", show_default=True,
              help="quick: minutes on a CPU. full: the paper's protocol, 1600 samples per schedule and T = 1000.")
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
    import shlex

    from stepimp.results import results_folder

    from .figures import figures

    commands, failed = plan(scale, family), []
    results_folder(results), results_folder(out)
    for number, (arguments, folder) in enumerate(commands, 1):
        line, there = shlex.join(["stepimp", *arguments]), is_there(results, arguments, folder)
        click.echo(f"Step {number} of {len(commands)}{' is there' if there else ''}: {line}", err=True)
        if not there and run(arguments, results):
            failed.append(line)
    ctx.invoke(figures, results=results, family=family, out=out)
    if failed:
        raise click.ClickException(f"Failed: {'; '.join(failed)}. The same command goes on from there.")


def sizes(scale: str, length: int) -> dict[str, list[str]]:
    """How much each command measures. length: tokens of the family's samples."""
    if scale == "full":
        return {
            "loss": ["--sequences", "500"], "kl": ["--sequences", "500"], "recommend": [],
            "compare": ["--samples", "1600"], "search": ["--samples", "160"], "profile": ["--samples", "32"],
        }  # fmt: skip
    return {
        "loss": ["--sequences", "64"], "kl": ["--sequences", "64"], "recommend": ["--steps", "100"],
        "compare": ["--steps", "100", "--samples", "16"], "profile": ["--steps", "100"],
        "search": ["--steps", "50", "--samples", "16", "--length", str(length // 2)],
    }  # fmt: skip


def plan(scale: str, family: str | None) -> list[tuple]:
    """(arguments of stepimp, folder of the family) of each command."""
    from stepimp.documents import LM1B, NEEDS, family_options, recipe
    from stepimp.family import MANIFEST, family_folder

    length = sample_length(family_folder(family))
    own, steps, found = sizes(scale, length), 1000 if scale == "full" else 100, []
    for need, (command, _) in NEEDS.items():
        folder = family_folder(LM1B if need == "lm1b" else family)
        if need != "lm1b" or (folder / MANIFEST).exists():
            paper_steps = ["--steps", "128"] if need == "lm1b" and scale == "full" else []
            options = [*own[command], *paper_steps, *family_options(need, family)]
            found.append(([*recipe(need, steps, length), *options], folder))
    return found


def sample_length(folder) -> int:
    """Tokens of a sample: the most that all models of the family take. Raises StepimpError where there is no family."""
    import json

    from stepimp.errors import StepimpError
    from stepimp.family import read_manifest

    configs = [folder / name / "config.json" for name in read_manifest(folder)["members"]]
    if not configs:
        raise StepimpError(f"{folder} holds no family: train one with stepimp train {folder}.")
    return min(json.loads(path.read_text("utf-8"))["model_length"] for path in configs)


def is_there(results, arguments: list[str], folder) -> bool:
    """Whether this very command line made a document, and the family has not been trained since."""
    import shlex
    from pathlib import Path

    from stepimp.family import MANIFEST
    from stepimp.results import read_document

    trained = (folder / MANIFEST).stat().st_mtime
    paths = [path for path in Path(results).glob(f"{arguments[0]}-*.json") if path.stat().st_mtime >= trained]
    return any(shlex.split(read_document(path)["provenance"]["command_line"])[1:] == arguments for path in paths)


def run(arguments: list[str], results) -> int:
    """Runs a command in a process of its own, with its progress on this terminal, and returns its exit code."""
    import os
    import subprocess
    import sys

    environment = os.environ | {"STEPIMP_RESULTS": str(results)}
    environment.pop("STEPIMP_FAMILY", None)  # its command line says what it is of
    return subprocess.run([sys.executable, "-m", "stepimp", *arguments], env=environment).returncode
