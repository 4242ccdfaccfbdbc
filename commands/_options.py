"""Options that several commands share, as decorators."""

import math
from collections.abc import Sequence
from contextlib import contextmanager

import click

from stepimp.models.options import MOST_SEED
from stepimp.schedules.schedule import MOST_STEPS
from stepimp.text.bundled import BUNDLED

from ._threads import few_threads

ARGUMENTS = "stepimp.arguments"
"""Where the context keeps the command line."""
SEED = click.IntRange(0, MOST_SEED)
MOST_VOCABULARY = 1_000_000
POINTS = click.IntRange(1, 100_000)  # times of a curve
STEPS = click.IntRange(1, MOST_STEPS)


class FloatRange(click.FloatRange):
    """click's FloatRange, which refuses NaN and infinity as well."""

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


POSITIVE = FloatRange(min=0, min_open=True)
BELOW_ONE = FloatRange(0, 1, max_open=True)


class Share(FloatRange):
    """A fraction, as 0.25 or 25%."""

    name = "fraction"

    def convert(self, value, param, ctx):
        if isinstance(value, str) and value.strip().endswith("%"):
            number = FloatRange().convert(value.strip()[:-1], param, ctx)
            return super().convert(number / 100, param, ctx)
        return super().convert(value, param, ctx)


def piped(ctx, param, value):
    """The value of an option that names a file; for a pipe, a file with its content."""
    if value is None:
        return None
    from stepimp.text.pipes import is_pipe, save_pipe

    if not is_pipe(value):
        return value
    file = str(save_pipe(value))
    # Processes that are started with these arguments read the file.
    arguments = ctx.find_root().meta.get(ARGUMENTS, [])
    replaced = {value: file, f"--data={value}": f"--data={file}"}
    arguments[:] = [replaced.get(word, word) for word in arguments]
    return file


def text_there(ctx, param, value):
    """The value of an option that names a text, see `piped`. Raises StepimpError where it is the
    path of a file that is not there: before anything is estimated or asked.
    """
    from stepimp.text.files import require_there

    value = piped(ctx, param, value)
    if value is not None:
        require_there(value)
    return value


def refuse(names, reason: str):
    """Options that were typed and would not count are bad usage.

    names: of their parameters; reason: what follows their name in the message.
    """
    ctx = click.get_current_context()
    for option in ctx.command.params:
        typed = ctx.get_parameter_source(option.name) is click.core.ParameterSource.COMMANDLINE
        if option.name in names and typed:
            raise click.UsageError(f"{option.opts[0]} {reason}")


def together(*decorators):
    """One decorator that applies several, the first one outermost."""

    def apply(function):
        for decorate in reversed(decorators):
            function = decorate(function)
        return function

    return apply


def number_option(*names: str, type: click.ParamType, default: float, help: str):
    """An option that takes a number, and shows its default."""
    return click.option(*names, type=type, default=default, show_default=True, help=help)


def count_option(*names: str, default: int, help: str, least: int = 1):
    """An option that takes a whole number of at least `least`."""
    return number_option(*names, type=click.IntRange(min=least), default=default, help=help)


def choice_option(*names: str, choices: Sequence[str], default: str, help: str):
    """An option that takes one of several words."""
    words = click.Choice(choices)
    return click.option(*names, type=words, default=default, show_default=True, help=help)


def json_option(help: str):
    """The flag to print JSON instead of text."""
    return click.option("--json", "as_json", is_flag=True, help=help)


output_options = together(
    number_option("--seed", type=SEED, default=0, help="Seed of every random draw."),
    click.option(
        "--out",
        type=click.Path(file_okay=False),
        envvar="STEPIMP_RESULTS",
        default="results",
        show_default=True,
        help="Folder the results are written to. [env: STEPIMP_RESULTS]",
    ),
    json_option("Print the results document on stdout and nothing else."),
)

family_option = click.option(
    "--family",
    type=click.Path(file_okay=False),
    envvar="STEPIMP_FAMILY",
    help="Folder of a trained family. [env: STEPIMP_FAMILY; default: the bundled family]",
)

results_option = click.option(
    "--results",
    type=click.Path(file_okay=False),
    envvar="STEPIMP_RESULTS",
    default="results",
    show_default=True,
    help="Folder of the results files. [env: STEPIMP_RESULTS]",
)
figures_option = click.option(
    "--out",
    type=click.Path(file_okay=False),
    default="figures",
    show_default=True,
    help="Folder the figures are written to.",
)

device_options = together(
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
    choice_option(
        "--dtype",
        choices=["float32", "bfloat16", "float16", "float64"],
        default="float32",
        help="Dtype of the models' bodies; logits are always float32 or wider.",
    ),
)

model_options = together(
    few_threads,
    family_option,
    device_options,
    click.option(
        "--attn",
        default="auto",
        show_default=True,
        help="eager, sdpa, flash_attention_2, flash_attention_4 or another of transformers' "
        "implementations. auto: flash_attention_2 where it is installed and runs, else sdpa.",
    ),
    output_options,
)

judge_option = click.option(
    "--judge",
    help="Scores the text: gpt2, gpt2-large or another causal language model, by Hugging Face id "
    "or folder.  [default: the family's own judge, else the bundled one of its text, else gpt2]",
)

TEXT = (
    f"{' or '.join(BUNDLED)} (text that is installed with stepimp), a text, JSON, CSV, TSV or "
    "parquet file or a folder of them, - for the standard input, or a Hugging Face id."
)
COLUMN = "Where the text is in files with several columns; a.b is the field b of the field a."
heavy_option = click.option(
    "--heavy", help="The large model.  [default: the family's deepest member]"
)
LIGHT = "[default: the family's shallowest member]"
light_option = click.option("--light", help=f"The smaller one.  {LIGHT}")
lights_option = click.option(
    "--light", "lights", multiple=True, help=f"A smaller one; repeatable.  {LIGHT}"
)
data_option = together(
    click.option(
        "--data", callback=text_there, help=f"{TEXT}  [default: what the family was trained on]"
    ),
    click.option("--text-column", "column", help=f"{COLUMN}  [default: text]"),
)
training_data_option = together(
    click.option("--data", default="docs", show_default=True, callback=text_there, help=TEXT),
    click.option("--text-column", "column", default="text", show_default=True, help=COLUMN),
)
yes_option = click.option(
    "--yes",
    is_flag=True,
    envvar="STEPIMP_YES",
    help="Run also what is expected to take more than an hour, without asking. [env: STEPIMP_YES]",
)


def chosen_members(heavy: str | None, lights, family: str | None) -> tuple[str, tuple[str, ...]]:
    """The heavy and the light models asked for; by default the family's deepest and shallowest."""
    from stepimp.models.family import chosen_members, family_folder

    return chosen_members(heavy, lights, family_folder(family))


def full_name(model: str | None, family: str | None) -> str | None:
    """A model's name as results have it: the path of a checkpoint holds from any directory."""
    from stepimp.models.family import family_folder, full_name

    return None if model is None else full_name(model, family_folder(family))


@contextmanager
def usage_errors():
    """Options that contradict each other are bad usage, exit code 2."""
    from stepimp.errors import StepimpError

    try:
        yield
    except StepimpError as error:
        raise click.UsageError(str(error)) from error
