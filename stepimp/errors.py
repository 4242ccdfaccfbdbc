"""The one exception a user may see."""


class StepimpError(Exception):
    """What went wrong, what is allowed and what to do next, in one message without a traceback."""


class Contradiction(StepimpError):
    """Options that exclude each other, or what is there already."""
