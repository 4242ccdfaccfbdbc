"""What all timings share: their clock, how long they take, and where they are kept."""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from stepimp import __version__
from stepimp.errors import StepimpError
from stepimp.results import write_atomically
from stepimp.text.cache import cache_folder, digest

Clock = Callable[[], float]
SECONDS = 1.0  # that each model is timed for, at least


class Stopwatch:
    """Runs from the start of this process: the time that a command takes until it runs its
    models.
    """

    def __init__(self):
        # The process's own time counts from its start, as that of the command will.
        self.times: dict[Clock, float] = {time.process_time: 0.0}
        self.times[time.perf_counter] = time.perf_counter()

    def seconds(self, clock: Clock) -> float:
        """Seconds since the start."""
        return clock() - self.times[clock]


def clock_for(device) -> Clock:
    """Seconds that this process works where it does so in one thread, as other programs then do not
    count; else seconds that pass.
    """
    import torch

    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def median_seconds(work: Callable[[], object], clock: Clock, models: int = 1) -> float:
    """Seconds of some work of this many models, which is repeated for SECONDS per model."""
    spent: list[float] = []
    started = clock()
    while not spent or clock() - started < SECONDS * models:
        start = clock()
        work()
        spent.append(clock() - start)
    return statistics.median(spent)


def import_datasets():
    """Loads the library that text is read with, where it is installed, as the command will."""
    with suppress(ImportError):
        import datasets  # noqa: F401


def stamp(source: str) -> str:
    """Names the content of a file or folder without reading it. source: may be empty or no path."""
    path = Path(source).expanduser()
    files = sorted(path.iterdir()) if source and path.is_dir() else [path] if source else []
    facts = [(file.name, file.stat()) for file in files if file.exists()]
    return digest(source, json.dumps([(name, of.st_size, of.st_mtime_ns) for name, of in facts]))


def rates_path(*parts) -> Path:
    """Where timings of this machine are kept. parts: all else that they depend on, as JSON has
    it.
    """
    machine = (platform.node(), platform.processor(), str(os.cpu_count()))
    threads = (os.environ.get("OMP_NUM_THREADS", ""), __version__)
    return cache_folder() / f"rates-{digest(*machine, *threads, json.dumps(parts))}.json"


def keep(file: Path, measured):
    """Writes a dataclass of timings to a file of `rates_path`. Raises StepimpError where it cannot
    be written.
    """
    try:
        write_atomically(file, json.dumps(asdict(measured)))
    except StepimpError as error:
        raise StepimpError(f"{error} STEPIMP_CACHE sets it.") from error


def peak_memory(device) -> int:
    """Most bytes that this process held, or that torch held on a GPU."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
