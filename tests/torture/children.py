"""Commands in processes of their own that start at once: forked from one that has loaded torch."""

import os
import resource
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

from stepimp.commands import main

LIMIT = 300  # seconds after which a command is called silent


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "stepimp"]


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, by /proc."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(file.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(file.parent.name))
    return sorted(found)


class Child:
    """A running command. most_bytes: files can grow no larger, as on a full disk; torchrun: two
    processes of it.
    """

    def __init__(
        self,
        arguments: list[str],
        output: Path,
        most_bytes: int | None = None,
        torchrun: bool = False,
    ):
        self.torchrun = torchrun
        self.output, self.started = output, time.monotonic()
        self.code: int | None = None
        output.touch()  # it may be killed before it writes
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            run(arguments, output, most_bytes, torchrun)

    def poll(self) -> bool:
        """Whether it has ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def wait(self, limit: float = LIMIT) -> int:
        """Its exit code, that of a kill if it takes longer than the limit."""
        while not self.poll():
            if time.monotonic() - self.started > limit:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.005)
        assert self.code is not None
        return self.code

    def kill(self, number: signal.Signals, after: float) -> int:
        """Sends a signal after some seconds, unless it has ended by then; its exit code.

        Under torchrun SIGKILL goes to one of its processes: what it leaves behind would run on.
        """
        while not self.poll() and time.monotonic() - self.started < after:
            time.sleep(0.002)
        if not self.poll():
            ranks = children_of(self.pid) if self.torchrun and number == signal.SIGKILL else []
            with suppress(ProcessLookupError):
                os.kill(ranks[-1] if ranks else self.pid, number)
        return self.wait()

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")


def run(arguments: list[str], output: Path, most_bytes: int | None, torchrun: bool):
    """Runs a command in a forked child, which ends here."""
    code = 1
    try:
        os.setpgid(0, 0)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="replace")
        if torchrun:
            os.execv(sys.executable, [sys.executable, *TORCHRUN, *arguments])
        sys.argv = ["stepimp", *arguments]
        if most_bytes is not None:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
        main(arguments, prog_name="stepimp")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                code = code or 1
        os._exit(code)


def preload():
    """Loads what all commands load, so that a fork has it. Runs nothing: threads do not survive."""
    import datasets  # noqa: F401
    import transformers  # noqa: F401
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast, Trainer  # noqa: F401

    import stepimp.commands._training_progress
    import stepimp.quality.comparison
    import stepimp.search.run
    import stepimp.training.family
    import stepimp.training.judge  # noqa: F401
