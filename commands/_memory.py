"""What is said where the memory does not suffice."""

import re

# As numpy, torch on a CPU and torch on a GPU say how much they asked for.
ASKED = re.compile(
    r"(?:allocate|allocated|allocation of) (\d[\d.,]*) ?(bytes|[KMGTP]i?B)\b", re.IGNORECASE
)
REFUSED = re.compile(r"can't allocate memory|not enough memory|out of memory", re.IGNORECASE)


def out_of_memory(error: BaseException) -> str:
    """What to say of an error that means too little memory; empty for any other error."""
    refused = isinstance(error, RuntimeError) and REFUSED.search(str(error))
    if not (refused or isinstance(error, MemoryError)):
        return ""
    asked = ASKED.search(str(error))
    how_much = f": {amount(*asked.groups())} were asked for" if asked else ""
    return f"Out of memory{how_much}. Use smaller batches, models or texts."


def amount(number: str, unit: str) -> str:
    """`40.0 GB` of 40000000000 bytes; other units as they are."""
    if unit != "bytes":
        return f"{number} {unit}"
    return f"{float(number.replace(',', '')) / 1e9:,.1f} GB"
