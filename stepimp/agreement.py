"""Whether the processes of a run do the same work.

On several machines each has an installation of stepimp, a text and weights of its own.
"""

import functools
import hashlib
import platform
from pathlib import Path
from typing import Any

from stepimp import __version__
from stepimp.errors import StepimpError
from stepimp.processes import Processes

SOURCE = (".py", ".cpp", ".h")
OUTSIDE = ("commands", "plots", "fixtures")
"""Folders that are beside the library in a checkout, and in it where it is installed."""
LONGEST = 60
"""Characters of a value in a message."""


@functools.cache
def software() -> dict[str, str]:
    """What computes the rows: versions, and a digest of stepimp's source, which a checkout may have
    changed.
    """
    import torch

    folder, digest = Path(__file__).parent, hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in SOURCE and file.relative_to(folder).parts[0] not in OUTSIDE:
            digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return {
        "stepimp": __version__,
        "the digest of stepimp's source": digest.hexdigest()[:8],
        "torch": torch.__version__,
    }


def require_same(processes: Processes, facts: dict[str, Any]):
    """Raises StepimpError in all processes where one of them has other facts or software than
    process 0. Waits for the last process.

    facts: name -> value, of what the results depend on; paths may differ between machines.
    """
    if processes.count == 1:
        return
    everyone = processes.gather({processes.rank: (platform.node(), facts | software())})
    host, first = everyone[0]
    for rank in range(1, processes.count):
        place, other = everyone[rank]
        different = [
            f"{name} is {other.get(name)!s:.{LONGEST}} there, not {first.get(name)!s:.{LONGEST}}"
            for name in first | other
            if first.get(name) != other.get(name)
        ]
        if different:
            raise StepimpError(
                f"Process {rank} (on {place}) would do other work than process 0 (on {host}): "
                f"{'; '.join(different)}. Start the same command everywhere, with the same "
                "version of stepimp, models and text."
            )
