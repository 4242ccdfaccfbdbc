"""`stepimp reproduce`: all measurements of the paper, one command after another, then all figures
and tables.
"""

import click

SCALES = ("quick", "full")


@click.command()
@click.option(
    "--scale",
    type=click.Choice(SCALES),
    default="quick",
    show_default=True,
    help="quick: minutes on a CPU. full: the paper's protocol, 1600 samples per schedule and T = 1000.",
)
@click.option(
    "--family",
    type=click.Path(file_okay=False),
    envvar="STEPIMP_FAMILY",
    help="Family in the role of the paper's. [env: STEPIMP_FAMILY; default: the bundled family]",
)
@click.option(
    "--results",
    type=click.Path(file_okay=False),
    envvar="STEPIMP_RESULTS",
    default="results",
    show_default=True,
    help="Folder of the results files. [env: STEPIMP_RESULTS]",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    default="figures",
    show_default=True,
    help="Folder the figures are written to.",
)
@click.pass_context
def reproduce(ctx, scale, family, results, out):
    """Make all results the paper's figures and tables need, then draw and write them.

    What is there already is not made again, and an interrupted call goes on where it was. The
    paper's LM1B is a family called code; without one its comparison is left out.

    \b
    Example:
      stepimp reproduce --scale quick
    """
    import shlex

    from stepimp.results import results_folder

    from ._progress import Overall, log, status
    from .figures import figures

    status("Looking at what is there ...")
    commands, failed = plan(scale, family), []
    results_folder(results), results_folder(out)
    left = {
        number: expected(*one)
        for number, one in enumerate(commands, 1)
        if not is_there(results, *one)
    }
    overall = Overall(sum(left.values()))
    for number, (arguments, _) in enumerate(commands, 1):
        title, line = f"Step {number} of {len(commands)}", shlex.join(["stepimp", *arguments])
        if number not in left:
            log(f"{title} is there: {line}")
        elif run(arguments, results, overall.step(f"{title}: {line}", left[number])):
            failed.append(line)
    ctx.invoke(figures, results=results, family=family, out=out)
    if failed:
        raise click.ClickException(
            f"Failed: {'; '.join(failed)}. The same command goes on from there."
        )


def sizes(scale: str, length: int) -> dict[str, list[str]]:
    """How much each command measures. length: tokens of the family's samples."""
    if scale == "full":
        return {
            "loss": ["--sequences", "500"],
            "kl": ["--sequences", "500"],
            "recommend": [],
            "compare": ["--samples", "1600"],
            "search": ["--samples", "160"],
            "profile": ["--samples", "32"],
        }
    return {
        "loss": ["--sequences", "64"],
        "kl": ["--sequences", "64"],
        "recommend": ["--steps", "100"],
        "compare": ["--steps", "100", "--samples", "16"],
        "profile": ["--steps", "100"],
        "search": ["--steps", "50", "--samples", "16", "--length", str(length // 2)],
    }


def plan(scale: str, family: str | None) -> list[tuple]:
    """(arguments of stepimp, folder of the family) of each command."""
    from stepimp.models.family import MANIFEST, family_folder
    from stepimp.paper.needs import LM1B, NEEDS, family_options, recipe

    length = sample_length(family_folder(family))
    own, steps, found = sizes(scale, length), 1000 if scale == "full" else 100, []
    for need, (command, _) in NEEDS.items():
        folder = family_folder(LM1B if need == "lm1b" else family)
        if need != "lm1b" or (folder / MANIFEST).exists():
            paper_steps = ["--steps", "128"] if need == "lm1b" and scale == "full" else []
            options = [*own[command], *paper_steps, *family_options(need, family)]
            found.append(([*recipe(need, steps, length), *options], folder))
    return [
        one for k, one in enumerate(found) if one not in found[:k]
    ]  # the family may itself be the LM1B's


def sample_length(folder) -> int:
    """Tokens of a sample: the most that all models of the family take. Raises StepimpError where
    there is no family.
    """
    import json

    from stepimp.errors import StepimpError
    from stepimp.models.family import read_manifest

    configs = [folder / name / "config.json" for name in read_manifest(folder)["members"]]
    if not configs:
        raise StepimpError(f"{folder} holds no family: train one with stepimp train {folder}.")
    return min(json.loads(path.read_text("utf-8"))["model_length"] for path in configs)


def expected(arguments: list[str], folder) -> float:
    """How much work a command is; none for one that will fail, as it names a model that the family
    has not.
    """
    from contextlib import suppress

    from stepimp.models.family import read_manifest

    from ._work import work

    blocks = {name: facts["blocks"] for name, facts in read_manifest(folder)["members"].items()}
    with suppress(KeyError):
        return work(arguments, blocks, sample_length(folder))
    return 0.0


def is_there(results, arguments: list[str], folder) -> bool:
    """Whether this very command line made a document, and the family has not been trained since."""
    import shlex
    from pathlib import Path

    from stepimp.models.family import MANIFEST
    from stepimp.results import read_document

    trained = (folder / MANIFEST).stat().st_mtime
    command, *options = arguments
    kinds = {command, "curves"} if command in ("loss", "kl") else {command}  # views of the curves
    paths = [
        path
        for kind in kinds
        for path in Path(results).glob(f"{kind}-*.json")
        if path.stat().st_mtime >= trained
    ]
    return any(
        shlex.split(read_document(path)["provenance"]["command_line"])[2:] == options
        for path in paths
    )


def run(arguments: list[str], results, step) -> int:
    """Runs a command in a process of its own and returns its exit code. What it prints is shown
    when it has ended.

    step: context manager that gives the function (done, total) for its progress.
    """
    import os
    import subprocess
    import sys
    from tempfile import TemporaryFile

    from ._progress import PIPE

    reports, pipe = os.pipe()
    environment = os.environ | {"STEPIMP_RESULTS": str(results), PIPE: str(pipe)}
    environment.pop("STEPIMP_FAMILY", None)  # its command line says what it is of
    command = [sys.executable, "-m", "stepimp", *arguments]
    with (
        TemporaryFile("w+", errors="replace") as found,
        TemporaryFile("w+", errors="replace") as said,
    ):
        options = dict(env=environment, stdout=found, stderr=said, pass_fds=[pipe])
        with step as moved, subprocess.Popen(command, **options) as child:
            os.close(pipe)
            try:
                with open(reports) as lines:  # to their end, which is the command's
                    for line in lines:
                        moved(*map(int, line.split()))
            except BaseException:
                child.kill()  # what it has finished is in its journal
                raise
        for file, to_stderr in ((found, False), (said, True)):
            file.seek(0)
            click.echo(file.read(), nl=False, err=to_stderr)
    return child.returncode
