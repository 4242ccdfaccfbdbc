"""Long commands that are killed, starved of disk or run twice at once; a rerun must then write the
rows of an undisturbed run.
"""

import hashlib
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from children import Child
from world import SIZES, World, problem_of, rows_of

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
MOST_KILLS = 3  # before a run is left to finish


@dataclass(frozen=True)
class Long:
    """A long command: its arguments for a folder of its own, and what it leaves there."""

    arguments: Callable[[World, Path], list]
    result: Callable[[Path], object]
    torchrun: bool = False


def measured(command: str, kind: str = "", torchrun: bool = False) -> Long:
    def arguments(world: World, folder: Path) -> list:
        return [command, *world.options(command), "--out", folder]

    return Long(arguments, lambda folder: list(rows_of(folder, kind or command).values()), torchrun)


def weights(folder: Path) -> dict[str, str]:
    """{file: digest} of all weights in a folder; no training is left unfinished."""
    assert not list(folder.glob("*.training")), "a finished training leaves no checkpoints"
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*.safetensors"))
    }


def train(world: World, folder: Path) -> list:
    return ["train", folder, "--data", world.text, "--depths", "1,2", *SIZES, "--steps", 24] + [
        *["--save-every", 4, "--vocab-size", 270, "--batch-size", 4]
    ]


def judge(world: World, folder: Path) -> list:
    folder.mkdir(parents=True, exist_ok=True)
    return ["judge", folder, "--data", world.text, "--layers", 1, "--width", 8, "--heads", 1] + [
        *["--context", 16, "--steps", 24, "--save-every", 4, "--vocab-size", 270]
    ]


def evaluate(world: World, folder: Path) -> list:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "texts.jsonl"
    if not file.exists():
        lines = world.text.read_text().split("\n")
        file.write_text("".join(f'{{"text": "{line}"}}\n' for line in lines))
    return ["evaluate", file, "--family", world.family, "--batch-size", 4, "--out", folder]


def reproduce(world: World, folder: Path) -> list:
    return ["reproduce", "--family", world.family, "--results", folder, "--out", folder / "figures"]


LONG = {
    "kl": measured("kl", "curves"),
    "loss": measured("loss", "curves"),
    "compare": measured("compare"),
    "generate": measured("generate"),
    "search": measured("search"),
    "profile": measured("profile"),
    "evaluate": Long(evaluate, lambda folder: list(rows_of(folder, "evaluate").values())),
    "train": Long(train, weights),
    "judge": Long(judge, weights),
    "search under torchrun": measured("search", torchrun=True),
    "train under torchrun": Long(train, weights, torchrun=True),
    "reproduce": Long(reproduce, lambda folder: rows_of(folder, "*")),
}
SLOW = ("reproduce",)  # takes minutes: only where it is named


class Disturber:
    """Disturbs long commands, each in a folder of its own."""

    def __init__(self, world: World, folder: Path, number: int):
        self.world, self.folder, self.draw = world, folder, random.Random(number)
        self.expected: dict[str, tuple[object, float]] = {}
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)

    def child(self, name: str, folder: Path, **options) -> Child:
        arguments = [str(part) for part in LONG[name].arguments(self.world, folder)]
        if arguments[0] == "search":  # which would measure curves of another text first
            arguments += ["--curves", str(self.curves())]
        log = self.logs / f"{name.replace(' ', '-')}-{self.draw.getrandbits(32):08x}"
        return Child(arguments, log, torchrun=LONG[name].torchrun, **options)

    def curves(self) -> Path:
        """A document of curves."""
        folder = self.folder / "curves"
        if not folder.exists() and (child := self.child("kl", folder)).wait():
            raise SystemExit(f"kl fails undisturbed: {child.text}")
        return next(folder.glob("curves-*.json"))

    def fresh(self, name: str) -> Path:
        folder = self.folder / name.replace(" ", "-")
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def undisturbed(self, name: str) -> tuple[object, float]:
        """What a command leaves, and how long it takes."""
        if name not in self.expected:
            folder = self.fresh(name)
            child = self.child(name, folder)
            code = child.wait()
            if code:
                raise SystemExit(f"{name} fails undisturbed: {child.text}")
            seconds = self.seconds(child)
            self.expected[name] = LONG[name].result(folder), seconds
        return self.expected[name]

    @staticmethod
    def seconds(child: Child) -> float:
        import time

        return time.monotonic() - child.started

    def ending(self, name: str, folder: Path) -> str:
        """Runs a command to its end. Returns what is wrong with that, or with what it leaves."""
        expected, _ = self.undisturbed(name) if name not in self.expected else self.expected[name]
        child = self.child(name, folder)
        code = child.wait()
        if code:
            return f"the rerun ends with {code}: {child.text[-1000:]}"
        if problem := problem_of(code, child.text):
            return problem
        same = LONG[name].result(folder) == expected
        return "" if same else "other rows than an undisturbed run"

    def killed(self, name: str) -> tuple[str, int, str]:
        """(what was done, kills, what is wrong) of a command that is killed and run again."""
        _, seconds = self.undisturbed(name)
        folder, done = self.fresh(name), []
        for _ in range(self.draw.randint(1, MOST_KILLS)):
            number, after = self.draw.choice(SIGNALS), self.draw.uniform(0, seconds)
            child = self.child(name, folder)
            code = child.kill(number, after)
            done.append(f"{number.name} after {after:.2f} s")
            if child.torchrun:  # which prints a traceback of its own where it is killed
                continue
            early = code in (-number, 0) or "Aborted!" in child.text
            problem = "" if early else problem_of(code, child.text)
            if not early and code != 128 + number:
                problem = problem or f"exit code {code} after {number.name}: {child.text[-500:]}"
            if "Traceback" in child.text:
                problem = child.text[-1500:]
            if problem:
                return ", ".join(done), len(done), problem
        return ", ".join(done), len(done), self.ending(name, folder)

    def starved(self, name: str) -> tuple[str, int, str]:
        """(what was done, 1, what is wrong) of a command whose disk fills up, and run again."""
        self.undisturbed(name)
        folder, most = self.fresh(name), int(2 ** self.draw.uniform(5, 17))
        child = self.child(name, folder, most_bytes=most)
        problem = problem_of(child.wait(), child.text)
        done = f"files of at most {most} bytes"
        return done, 1, problem or self.ending(name, folder)

    def twice(self, name: str) -> tuple[str, int, str]:
        """(what was done, 1, what is wrong) of a command that runs twice at once."""
        self.undisturbed(name)
        folder = self.fresh(name)
        folder.parent.mkdir(parents=True, exist_ok=True)
        children = [self.child(name, folder) for _ in range(2)]
        problems = [problem_of(child.wait(), child.text) for child in children]
        done = f"two at once, codes {[child.code for child in children]}"
        return done, 1, next(filter(None, problems), "") or self.ending(name, folder)
