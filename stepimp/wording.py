"""Numbers, times and misspelt names in messages."""

from collections.abc import Iterable
from difflib import get_close_matches


def counted(count: float, noun: str) -> str:
    """`1 file`, `1,200 files`, `2.5 minutes`."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """`0.3 s`, `40 s`, `12 min`, `3.5 h` or `4.2 days`."""
    if seconds < 1:
        return f"{seconds:.1g} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def nearest(name: str, names: Iterable[str]) -> str:
    """` Did you mean 'points'?` for the name that is most like a misspelt one; empty for none."""
    by_lower = {known.lower(): known for known in names}
    close = get_close_matches(name.lower(), by_lower, 1)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""
