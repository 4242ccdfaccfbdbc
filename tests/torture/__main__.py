"""`make torture`: kills, full disks, two runs at once and damaged files, for some minutes."""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: threads do not survive a fork
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

KINDS = ("kills", "disks", "pairs", "inputs")
SHARES = {"kills": 0.5, "disks": 0.1, "pairs": 0.1, "inputs": 0.3}
IN_TURN = 5  # damages of one file before it is the next one's turn


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument("--only", choices=KINDS, help="one kind of torture")
    parser.add_argument("--on", help="one command, or one kind of file")
    return parser.parse_args()


class Counts:
    """What was tried, and what went wrong."""

    def __init__(self):
        self.tried, self.bad, self.refused = Counter(), Counter(), Counter()

    def add(self, kind: str, count: int, refused: bool, problem: str, what: str, again: str):
        self.tried[kind] += count
        self.refused[kind] += refused
        if problem:
            self.bad[kind] += 1
            print(f"\nFAILED {kind}: {what}\n{problem}\nagain: {again}\n", flush=True)

    def show(self):
        for kind in self.tried:
            fine = "same rows" if kind != "inputs" else f"{self.refused[kind]} refused clearly"
            print(f"{kind}: {self.tried[kind]} tried, {self.bad[kind]} failed; the others: {fine}")


def command_line(options, kind: str, on: str, number: int) -> str:
    return f"make torture TORTURE='--seed {number} --only {kind} --on \"{on}\" --minutes 1'"


def torture(options, folder: Path, counts: Counts):
    import world
    from children import preload

    os.environ["STEPIMP_CACHE"] = str(folder / "cache")
    os.environ.pop("STEPIMP_FAMILY", None)
    os.environ.pop("STEPIMP_RESULTS", None)
    preload()
    made = in_child(lambda: world.make(folder / "world"))
    if made:
        raise SystemExit(made)
    tiny = world.World(folder / "world", folder / "world/family", folder / "world/text.txt")
    kinds = [options.only] if options.only else KINDS
    shares = sum(SHARES[kind] for kind in kinds)
    for kind in kinds:  # inputs last: its commands run in this process, and start threads
        end = time.monotonic() + 60 * options.minutes * SHARES[kind] / shares
        if kind == "inputs":
            inputs(options, tiny, folder / kind, end, counts)
        else:
            runs(options, kind, tiny, folder / kind, end, counts)
        print(f"{kind}: {counts.tried[kind]} tried, {counts.bad[kind]} failed", flush=True)


def in_child(work) -> int:
    """Runs a function in a forked process; its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def runs(options, kind: str, tiny, folder: Path, end: float, counts: Counts):
    """Long commands in turns, each trial with a seed of its own."""
    from runs import LONG, SLOW, Disturber

    disturber = Disturber(tiny, folder, options.seed)
    act = {"kills": disturber.killed, "disks": disturber.starved, "pairs": disturber.twice}[kind]
    names = [options.on] if options.on else [name for name in LONG if name not in SLOW]
    for number in itertools.count(options.seed):
        for name in names:
            if time.monotonic() > end:
                return
            disturber.draw.seed(f"{number} {name}")
            done, count, problem = act(name)
            again = command_line(options, kind, name, number)
            counts.add(kind, count, False, problem, f"{name}: {done}", again)


def inputs(options, tiny, folder: Path, end: float, counts: Counts):
    """Damaged files in turns."""
    from inputs import outcomes
    from targets import TARGETS, Bench

    bench = Bench(tiny, folder)
    names = [options.on] if options.on else list(TARGETS)
    for number in itertools.count(options.seed):
        for name in names:
            if time.monotonic() > end:
                return
            for outcome in outcomes(bench, name, IN_TURN, number):
                again = command_line(options, "inputs", name, number)
                what = f"{name}: {outcome.damage}"
                counts.add("inputs", 1, outcome.refused, outcome.problem, what, again)


if __name__ == "__main__":
    counts = Counts()
    try:
        with tempfile.TemporaryDirectory(prefix="torture-") as scratch:
            torture(arguments(), Path(scratch), counts)
    finally:
        counts.show()
    sys.exit(bool(sum(counts.bad.values())))
