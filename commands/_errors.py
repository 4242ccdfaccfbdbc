"""What the command line says when a run ends early, and with which exit code."""

import errno
import os
import signal
import sys
import threading
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import click

from stepimp.errors import FULL, Contradiction, StepimpError, advice
from stepimp.launcher import launched
from stepimp.processes import LostProcess, loss_explained, said_before

from ._memory import out_of_memory
from ._workers import LAUNCHER, LOST

INTERRUPTED = "Interrupted. Finished work is kept: run the same command again to continue."
BUG = "This is a bug in stepimp: please report it with the lines above and the command."


class Terminated(KeyboardInterrupt):
    """Raised in place of the signal it is named after, so that a run ends as after Ctrl-C."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def terminate(number, frame):
    """A signal handler that raises `Terminated`."""
    raise Terminated(number)


@contextmanager
def explained():
    """Turns the library's errors into one line and exit code 1, and signals into 128 + number.

    An error that nobody documents is a bug: it keeps its traceback, with a note to report it.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)
        signal.signal(signal.SIGHUP, terminate)
    try:
        with loss_explained():
            yield
    except Contradiction as error:
        if said_by_another(str(error)):
            sys.exit(2)
        raise click.UsageError(str(error), click.get_current_context(silent=True)) from error
    except LostProcess as error:
        if said_by_another(str(error), consequence=True):
            sys.exit(LOST)
        raise click.ClickException(str(error)) from error
    except StepimpError as error:
        if said_by_another(str(error)):
            sys.exit(1)
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, Terminated) else signal.SIGINT
        if LAUNCHER in os.environ:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which the launcher may send as well
        if not said_by_another(INTERRUPTED, consequence=True):
            click.echo(f"\n{INTERRUPTED}", err=True)
        sys.exit(128 + number)
    except OSError as error:
        if error.errno == errno.EPIPE:  # a reader such as head has seen enough
            raise
        if error.errno is None:
            error.add_note(BUG)
            raise
        # All files name themselves: what is left is the standard output.
        name = error.filename or ("the standard output" if error.errno in FULL else "")
        where = f": {name}" if name else ""
        raise click.ClickException(f"{error.strerror}{where}. {advice(error)}") from error
    except click.ClickException as error:
        if said_by_another(error.message):
            sys.exit(error.exit_code)
        raise
    except (click.exceptions.Exit, click.Abort):
        raise
    except Exception as error:
        if message := out_of_memory(error):
            raise click.ClickException(message) from error
        if any(kind.__name__ == "TorchDynamoException" for kind in type(error).__mro__):
            said = str(error).partition("\n")[0]
            raise click.ClickException(
                f"The model does not compile here ({said}). Install a C++ compiler and the headers "
                "of Python, on a GPU Triton as well, or leave --compile out."
            ) from error
        if isinstance(error, RuntimeError) and "home directory" in str(error):  # of pathlib
            raise click.ClickException(f"{error} Write a path out instead of its ~.") from error
        error.add_note(BUG)  # whatever is left is a bug
        raise
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of a library in Rust: no Exception
            raise
        raise click.ClickException(
            f"A library failed ({error}). A smaller text or tokenizer may help."
        ) from error


def said_by_another(message: str, consequence: bool = False) -> bool:
    """Whether another process of this run says this; of a mere consequence of its own end, the
    launcher of `--workers` does.
    """
    return (consequence and LAUNCHER in os.environ) or said_before(message, consequence)


@contextmanager
def first_process_prints():
    """Sends what the other processes of a run print to nowhere."""
    if launched()[0] == 0:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
