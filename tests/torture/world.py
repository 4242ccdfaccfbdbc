"""A tiny family with a judge and a text, and commands on it that run in this process."""

import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from stepimp.commands import main
from stepimp.errors import StepimpError
from stepimp.results import Run

SIZES = ["--length", 16, "--width", 8, "--heads", 1, "--cond-dim", 2]
TIMES = ("second", "share", "bound", "run")  # what differs between runs that are alike


@dataclass(frozen=True)
class World:
    """Where everything is. A family has the members 2b, 1b and 2b_seed2."""

    folder: Path
    family: Path
    text: Path

    def line(self, kind: str) -> list[str]:
        """A command with options that make it small, by the kind of document it writes."""
        command = {"policies": ["compare", "--policies"], "masked": ["kl", "--by-masked"]}
        over_masked = {"recommend_masked": ["recommend", "--over", "masked"]}
        return [*(command | over_masked).get(kind, [kind]), *self.options(kind)]

    def options(self, command: str) -> list[str]:
        """Options that make a command small."""
        models = ["--family", self.family, "--heavy", "2b", "--light", "1b"]
        small = {
            "kl": ["--sequences", 24, "--points", 3, "--length", 8, "--batch-size", 2],
            "compare": ["--steps", 8, "--samples", 12, "--length", 8, "--batch-size", 2],
            "generate": ["--schedule", "L8,H8", "--samples", 24, "--length", 8],
            "search": ["--segments", 4, "--light-segments", 2, "--steps", 8, "--samples", 12],
            "profile": ["--steps", 8, "--samples", 4, "--length", 8, "--repeats", 2],
            "recommend": ["--steps", 8, "--budget", 0.5],
        }
        small["loss"] = small["kl"]
        small["masked"] = ["--sequences", 24, "--points", 3, "--length", 8, "--batch-size", 2]
        small["cascade"] = ["--sequences", 12, "--points", 3, "--length", 8, "--budget", 0.1]
        small["policies"] = ["--sequences", 4, "--samples", 4, "--budget", 0.1]
        small["recommend_masked"] = ["--budget", 0.25]
        small["plan"] = ["--forwards", 4]
        more = {
            "kl": ["--baseline", "2b_seed2", "--data", self.text],
            "loss": ["--baseline", "2b_seed2", "--data", self.text],
            "generate": ["--batch-size", 2],
            "search": ["--chunk", 4, "--length", 8],
            "profile": ["--points", 3],
            "cascade": ["--batch-size", 4, "--data", self.text],
            "masked": ["--data", self.text],
            "policies": ["--batch-size", 2],
        }
        return [str(part) for part in (*models, *small[command], *more.get(command, []))]


def tiny_text(file: Path):
    draw = random.Random(0)
    words = [
        "the",
        "a",
        "step",
        "model",
        "light",
        "heavy",
        "mask",
        "token",
        "noise",
        "sample",
        "of",
        "and",
        "in",
        "to",
        "curve",
    ]
    lines = (" ".join(draw.choices(words, k=draw.randint(4, 12))) + "." for _ in range(400))
    file.write_text("\n".join(lines), "utf-8")


@dataclass(frozen=True)
class Ended:
    """How a command ended. `problem` says why that is not clear to a user; empty if it is."""

    code: int
    output: str
    problem: str


def problem_of(code: int, output: str, error: BaseException | None = None) -> str:
    """Why an ending is not clear: a traceback, or a failure without exactly one message."""
    if error is not None and not isinstance(error, SystemExit):
        return f"{type(error).__name__}: {error}"
    if "Traceback (most recent call last)" in output or "bug in stepimp" in output:
        return output[-1500:]
    said = ("Interrupted. Finished work is kept", "not drawn, ")
    messages = sum(line.startswith("Error: ") for line in output.splitlines())
    if code and messages != 1 and not any(text in output for text in said):
        return f"code {code} without one message: {output[-500:]}"
    return ""


def call(*arguments) -> Ended:
    """Runs a command in this process."""
    result = CliRunner().invoke(main, [str(part) for part in arguments])
    problem = problem_of(result.exit_code, result.output, result.exception)
    return Ended(result.exit_code, result.output, problem)


def rows_of(folder: Path, kind: str) -> dict[str, list]:
    """{document: its rows} of a kind in a results folder, without what a clock measured."""
    found = {}
    for file in sorted(folder.glob(f"{kind}-*.json")):
        rows = json.loads(file.read_text())["rows"]
        found[file.name] = [
            {key: cell for key, cell in row.items() if not any(part in key for part in TIMES)}
            for row in rows
        ]
    return found


def make(folder: Path) -> World:
    """Trains the family and its judge."""
    folder.mkdir(parents=True, exist_ok=True)
    world = World(folder, folder / "family", folder / "text.txt")
    tiny_text(world.text)
    train = ["train", world.family, "--data", world.text, "--depths", "1,2", "--baseline-seed", 2]
    judge = ["judge", world.family, "--data", world.text, "--layers", 2, "--width", 8]
    for line in (
        [*train, *SIZES, "--steps", 4, "--vocab-size", 270],
        [*judge, "--heads", 1, "--context", 16, "--steps", 4, "--vocab-size", 270],
    ):
        ended = call(*line)
        if ended.code:
            raise SystemExit(f"The tiny family cannot be made: {ended.output}")
    return world


def unfinished(world: World, command: str, out: Path):
    """Runs a command to its end, but for its document: all its journals stay."""
    finish = Run.finish

    def stop(self, rows, **extra):
        raise StepimpError("stopped")

    Run.finish = stop
    try:
        call(*world.line(command), "--out", out)
    finally:
        Run.finish = finish


def copied(world: World, folder: Path) -> World:
    """The same world with a family of its own to damage."""
    shutil.copytree(world.family, folder / "family")
    return World(folder, folder / "family", world.text)
