"""What any terminal can show: characters that its encoding lacks in ASCII, control characters
escaped.
"""

import codecs
import re

BARS = "▁▂▃▄▅▆▇█"
ASCII = dict(zip(BARS, "_.:-=+*#")) | {"│": "|", "░": ".", "±": "+-", "…": "...", "–": "-"}
LITERAL = {"markup": False, "emoji": False}  # of a rich Console: brackets and :words: are text
ERRORS = "stepimp.ascii"  # of a stream: what to do with characters that its encoding lacks
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # all but tab and line break


def escaped(text: str) -> str:
    """Characters as Python writes them: `\\x1b`."""
    return text.encode("unicode_escape").decode()


def in_ascii(error: UnicodeError) -> tuple[str, int]:
    """The characters that could not be encoded, by their likeness in ASCII, and where they end."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(ASCII.get(letter) or escaped(letter) for letter in missing), error.end


codecs.register_error(ERRORS, in_ascii)


def visible(text: str) -> str:
    """A text whose control characters are shown and have no effect on the terminal."""
    return CONTROL.sub(lambda match: escaped(match[0]), text)
