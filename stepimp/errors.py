"""The one exception a user may see."""


class StepimpError(Exception):
    """What went wrong, what is allowed and what to do next, in one message without a traceback."""
