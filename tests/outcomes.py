"""What a command needs to run on the tiny family, and how it ended."""

NEEDS = {"loss": [], "kl": [], "profile": [], "recommend": [], "generate": ["--schedule", "H5"]}
NEEDS["compare"] = ["--steps", 4, "--samples", 2, "--length", 8]
MODELS = {
    "loss": ["--heavy", "2b", "--light", "1b"],
    "recommend": ["--heavy", "2b", "--light", "1b"],
}
MODELS |= {
    "kl": [*MODELS["loss"], "--baseline", "2b_seed2"],
    "profile": MODELS["loss"],
    "generate": MODELS["loss"],
}
MODELS["compare"] = MODELS["loss"]
NEEDS["plan"] = ["--forwards", 8]
NEEDS["search"], MODELS["search"] = [], MODELS["loss"]
# The shortest trainings of a family and of its judge.
TRAIN = ["--depths", 1, "--steps", 2, "--width", 8, "--length", 8, "--batch-size", 2]
TRAIN += ["--vocab-size", 262]
JUDGE = ["--layers", 1, "--width", 8, "--heads", 1, "--context", 8, "--steps", 2]
JUDGE += ["--batch-size", 2, "--vocab-size", 262]
FAST = ["--sequences", "4", "--points", "2", "--length", "8"]


class Outcome:
    """How a command ended. Anything but an orderly exit fails the test with the exception
    itself.
    """

    def __init__(self, result):
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.code, self.stdout, self.stderr = result.exit_code, result.stdout, result.stderr

    @property
    def message(self):
        """The error in one line, without the usage click puts before it."""
        assert self.code in (1, 2) and not self.stdout, (self.code, self.stdout)
        assert self.stderr.count("Error: ") == 1 and "Traceback" not in self.stderr
        return " ".join(self.stderr.partition("Error: ")[2].split())
