"""Commands of stepimp run in processes of their own, several at once."""

import os
import selectors
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from ._progress import PIPE


@dataclass(frozen=True)
class Step:
    """One command to run.

    arguments: of stepimp; folder: of the family; needs: what its document fills; reads: needs whose
    documents it reads where they are there; work: how much it is, see `_work`.
    """

    arguments: tuple[str, ...]
    folder: Path
    needs: tuple[str, ...] = ()
    reads: frozenset[str] = frozenset()
    work: float = 0.0


@dataclass
class Ended:
    """How a step ended: exit code, and what it printed."""

    step: Step
    code: int
    output: str
    errors: str


@dataclass
class Child:
    """A running step. reports: file descriptor of the pipe it reports its progress to."""

    step: Step
    process: subprocess.Popen
    reports: int
    output: IO
    errors: IO
    unread: bytes = field(default=b"")

    def read(self, report: Callable[[Step, int, int], None]) -> bool:
        """Passes on the progress reported since the last call; False once the step has ended."""
        received = os.read(self.reports, 65536)
        *lines, self.unread = (self.unread + received).split(b"\n")
        if lines:
            done, total = map(int, lines[-1].split())
            report(self.step, done, total)
        return bool(received)

    def end(self) -> Ended:
        """Waits for the process and returns what it printed."""
        code = self.process.wait()
        texts = []
        for file in (self.output, self.errors):
            file.seek(0)
            texts.append(file.read())
        self.close()
        return Ended(self.step, code, *texts)

    def close(self):
        """Closes the pipe and the files."""
        os.close(self.reports)
        self.output.close()
        self.errors.close()


def start(step: Step, results: Path, workers: int) -> Child:
    """Starts a step in a process of its own, `workers` of which run at once."""
    reports, pipe = os.pipe()
    environment = os.environ | {"STEPIMP_RESULTS": str(results), PIPE: str(pipe)}
    environment["STEPIMP_YES"] = "1"  # whoever runs all of them has agreed
    environment.pop("STEPIMP_FAMILY", None)  # its command line says what it is of
    environment["STEPIMP_WORKERS"] = "1"  # several commands run at once instead
    if workers > 1:
        environment.setdefault("OMP_NUM_THREADS", "1")
    output, errors = (TemporaryFile("w+", errors="replace") for _ in range(2))  # noqa: SIM115
    command = [sys.executable, "-m", "stepimp", *step.arguments]
    process = subprocess.Popen(
        command, env=environment, stdout=output, stderr=errors, pass_fds=[pipe]
    )
    os.close(pipe)
    return Child(step, process, reports, output, errors)


def ready(waiting: list[Step], running: list[Step]) -> list[Step]:
    """The waiting steps that read nothing which is still to be made."""
    open_needs = {need for step in [*waiting, *running] for need in step.needs}
    return [step for step in waiting if not step.reads & (open_needs - set(step.needs))]


def elapsed(steps: list[Step], seconds: list[float], workers: int) -> float:
    """Seconds until the last step has ended, run as `run_steps` runs them.

    seconds: of each step.
    """
    lasting = dict(zip(steps, seconds, strict=True))
    waiting, ends, now = list(steps), dict[Step, float](), 0.0
    while waiting or ends:
        for step in ready(waiting, list(ends))[: workers - len(ends)]:
            waiting.remove(step)
            ends[step] = now + lasting[step]
        first = min(ends, key=lambda step: ends[step])
        now = ends.pop(first)
    return now


def run_steps(
    steps: list[Step],
    workers: int,
    results: Path,
    started: Callable[[Step], None],
    report: Callable[[Step, int, int], None],
) -> Generator[Ended, None, None]:
    """Runs steps in their order, up to `workers` at once, and yields each as it ends.

    A step waits for those whose documents it reads. started: called as a step starts; report: with
    what a step has done and its total. Where the caller closes the generator early, running steps
    are killed: what they have finished is in their journals.
    """
    waiting, running = list(steps), list[Child]()
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                free, at_work = workers - len(running), [child.step for child in running]
                for step in ready(waiting, at_work)[:free]:
                    waiting.remove(step)
                    started(step)
                    child = start(step, results, workers)
                    running.append(child)
                    selector.register(child.reports, selectors.EVENT_READ, child)
                for key, _ in selector.select():
                    child = key.data
                    if not child.read(report):
                        selector.unregister(child.reports)
                        running.remove(child)
                        yield child.end()
        finally:
            for child in running:
                child.process.kill()
                child.process.wait()
                child.close()
