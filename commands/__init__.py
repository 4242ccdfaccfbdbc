"""The command line: `stepimp COMMAND`. Each command parses, makes one library call and prints."""

import importlib
import logging
import sys

import click

from stepimp import __version__
from stepimp.agreement import require_same
from stepimp.launcher import launched, leave_others
from stepimp.processes import Processes

from ._errors import explained, first_process_prints
from ._options import ARGUMENTS
from ._terminal import ERRORS
from ._workers import end_with_launcher

SHARED = (
    "train",
    "judge",
    "loss",
    "kl",
    "recommend",
    "plan",
    "cascade",
    "generate",
    "evaluate",
    "compare",
    "search",
    "profile",
)
"""Commands that run in all processes of a launcher, which divide the work."""
ALONE = ("models", "family", "convert", "figures", "reproduce", "estimate", "cache", "doctor")
"""Commands that the first process runs alone, whatever a launcher has started."""
COMMANDS = (*SHARED, *ALONE)


class Messages(logging.Handler):
    """Prints what the library logs, a line each, on stderr."""

    def emit(self, record):
        click.echo(record.getMessage(), err=True)


class Stepimp(click.Group):
    """Explains errors, prints what the library logs, and joins the other processes of the run."""

    def parse_args(self, ctx, args):
        ctx.meta[ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx):
        log, messages = logging.getLogger("stepimp"), Messages()
        log.setLevel(logging.INFO)
        log.addHandler(messages)
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors=ERRORS)
        end_with_launcher()
        try:
            with explained():
                command = ctx.meta[ARGUMENTS][0]
                if command in ALONE and launched() != (0, 1):
                    if launched()[0]:
                        return None
                    leave_others()
                require_same(Processes(), {"the command": command})
                with first_process_prints():
                    return super().invoke(ctx)
        finally:
            log.removeHandler(messages)


@click.group(
    cls=Stepimp, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="stepimp")
def main():
    """Step importance and model schedules for masked diffusion language models.

    \b
    stepimp kl --heavy 12b --light 4b --baseline 12b_seed2
    stepimp recommend --budget 0.25
    stepimp generate
    """


for name in COMMANDS:
    main.add_command(getattr(importlib.import_module(f"stepimp.commands.{name}"), name))
