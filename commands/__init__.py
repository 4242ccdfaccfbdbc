"""The command line: `stepimp COMMAND`. Each command parses, makes one library call and prints."""

import errno
import importlib
import sys

import click

from stepimp import __version__
from stepimp.errors import StepimpError

COMMANDS = (
    "train",
    "judge",
    "loss",
    "kl",
    "recommend",
    "generate",
    "evaluate",
    "compare",
    "search",
    "profile",
    "models",
    "family",
    "convert",
    "figures",
    "reproduce",
)


class Stepimp(click.Group):
    """Turns the library's errors into one line and an exit code."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except StepimpError as error:
            raise click.ClickException(str(error)) from None
        except KeyboardInterrupt:
            click.echo(
                "\nInterrupted. Finished work is kept: the same command goes on from there.",
                err=True,
            )
            sys.exit(1)
        except OSError as error:
            if error.errno in (
                None,
                errno.EPIPE,
            ):  # a bug, or a reader such as head that has seen enough
                raise
            where = f": {error.filename}" if error.filename else ""
            raise click.ClickException(
                f"{error.strerror}{where}. Free the disk or choose another folder."
            ) from None


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
