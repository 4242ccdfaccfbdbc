"""The machine's memory, to refuse at once what cannot fit into it."""

from pathlib import Path

MEMORY = Path("/proc/meminfo")


def free_memory() -> int | None:
    """Bytes of main memory that can be taken; None where the system does not say."""
    if not MEMORY.exists():
        return None
    lines = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else None
