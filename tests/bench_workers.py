"""Two processes against one, for the commands that share their work: python tests/bench_workers.py

Each command runs on the bundled family with --workers 1 and 2, in the order 1, 2, 2, 1, with one
thread in each process, so that a slow spell of the machine hits both. First the rows are compared:
where they differ, no speed is reported. Seconds are those that the document gives, from the loaded
models to the end; what it takes to start is reported apart. Needs two idle cores and five minutes.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LEAST = 1.8
LENGTH = ["--length", "64"]  # the same work, however long the bundled family's texts are
COMMANDS = {
    "kl": ["--sequences", "960", "--batch-size", "16", *LENGTH],
    "compare": ["--samples", "16", "--batch-size", "4", *LENGTH],
    "generate": ["--schedule", "L125,H750,L125", "--samples", "128", *LENGTH],
    "search": ["--segments", "8", "--light-segments", "3", "--samples", "16", "--chunk", "8"]
    + LENGTH,
}
ORDER = (1, 2, 2, 1)
TIMED = ("seconds", "saved_seconds")  # columns that differ from run to run


def run(command: str, workers: int, curves: Path) -> tuple[dict, float]:
    """(document, seconds of the whole command) of one run in a results folder of its own.

    curves: a folder for those of kl, which search reads.
    """
    with tempfile.TemporaryDirectory() as out:
        if command == "search":
            shutil.copytree(curves, out, dirs_exist_ok=True)
        start = time.perf_counter()
        printed = subprocess.run(
            [sys.executable, "-m", "stepimp", command, *COMMANDS[command]]
            + ["--workers", str(workers), "--out", out, "--json", "--device", "cpu"],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        seconds = time.perf_counter() - start
        if command == "kl":
            shutil.copytree(out, curves, dirs_exist_ok=True)
        return json.loads(printed), seconds


def rows(document: dict) -> list[dict]:
    """The rows without what depends on the clock."""
    timed = {f"{name}{end}" for name in TIMED for end in ("", "_low", "_high")}
    return [
        {name: value for name, value in row.items() if name not in timed}
        for row in document["rows"]
    ]


def main(curves: Path):
    """A line per command; fails where two processes are too slow."""
    missed = []
    for command in COMMANDS:
        seconds: dict[int, list[float]] = {1: [], 2: []}
        starts: dict[int, list[float]] = {1: [], 2: []}
        first = None
        for workers in ORDER:
            document, whole = run(command, workers, curves)
            first = first or rows(document)
            if rows(document) != first:
                raise SystemExit(f"{command}: rows of {workers} differ, no speed is reported.")
            seconds[workers].append(document["provenance"]["wall_seconds"])
            starts[workers].append(whole - seconds[workers][-1])
        one, two = (statistics.mean(seconds[workers]) for workers in (1, 2))
        begun = ", ".join(f"{statistics.mean(starts[workers]):.1f} s" for workers in (1, 2))
        print(
            f"{command}: one process {one:.1f} s, two {two:.1f} s, {one / two:.2f} times as fast; "
            f"start and end of one and two: {begun}",
            flush=True,
        )
        if one / two < LEAST:
            missed.append(command)
    if missed:
        raise SystemExit(f"Missed: at least {LEAST} times as fast; {', '.join(missed)}.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
