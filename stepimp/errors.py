"""The exceptions a user may see, and advice on those of the system."""

import errno

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EACCES, errno.EPERM}
ADVICE = {
    errno.EROFS: "It cannot be written to: choose another folder.",
    errno.ELOOP: "Its symbolic links lead in a circle: correct them or choose another path.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ENOENT: "Check its name.",
    errno.EISDIR: "It is a folder: name a file.",
    errno.ENOTDIR: "A part of its path is a file: choose another path.",
}


class StepimpError(Exception):
    """What went wrong, what is allowed and what to do next, in one message without a traceback."""


class Contradiction(StepimpError):
    """Options that exclude each other, or what is there already."""


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type where there is none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def advice(error: OSError) -> str:
    """What helps against an error of the system."""
    if error.errno in FULL:
        return "Free space or choose another folder."
    if error.errno in FORBIDDEN:
        return "Change its permissions or choose another path."
    return ADVICE.get(error.errno or 0, "Choose another path.")
