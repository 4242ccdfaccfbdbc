"""Numbers in messages."""


def counted(count: float, noun: str) -> str:
    """`1 file`, `1,200 files`, `2.5 minutes`."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {noun}{'' if count == 1 else 's'}"
