"""The examples of the documentation: command lines of `--help`, README and docs, and Python."""

import json
import re
import shlex
from pathlib import Path

import click

from stepimp.commands import main

ROOT = Path(__file__).parents[1]
# docs/gallery.md has a test of its own, tests/sampling/test_drive.py runs the Python of plans.md
PAGES = [
    ROOT / "README.md",
    *sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs/gallery.md"}),
]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"^    (stepimp .*)$", re.MULTILINE)
INLINE = re.compile(r"(?<!`)`(stepimp [^`]+)`(?!`)")


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> dict:
    """{path such as ("family", "add"): command}, groups included."""
    found = {}
    for name, command in group.commands.items():
        found[*path, name] = command
        if isinstance(command, click.Group):
            found |= commands(command, (*path, name))
    return found


COMMANDS = commands()


def split(line: str) -> list[str]:
    """The arguments of stepimp in a line of shell."""
    words = shlex.split(line, comments=True)
    return words[words.index("stepimp") + 1 :]


def lines_of(text: str) -> list[str]:
    """Lines that call stepimp in a Markdown page."""
    fences = FENCE.findall(text)
    blocks = [body.replace("\\\n", "") for language, body in fences if language != "python"]
    called = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    called += INDENTED.findall(FENCE.sub("", text))
    program = re.compile(r"(torchrun .* -m )?stepimp ")
    return [line for line in called if program.match(line) and "..." not in line]


def examples() -> dict[str, list[str]]:
    """{the first place and the command line: its arguments}, each once."""
    found, seen = {}, set()

    def add(place: str, line: str):
        words = split(line)
        if tuple(words) not in seen:
            seen.add(tuple(words))
            found[f"{place}: {line}"] = words

    for path, command in COMMANDS.items():
        for line in re.findall(r"^ +(stepimp .*)$", command.help, re.MULTILINE):
            add(f"help of {' '.join(path)}", line)
    for page in PAGES:
        for line in lines_of(page.read_text("utf-8")):
            add(page.name, line)
    return found


def inline() -> dict[str, list[str]]:
    """{where and command: its words} of the commands named in running text."""
    return {
        f"{page.name}: {line}": line.split()[1:]
        for page in PAGES
        for line in INLINE.findall(page.read_text("utf-8"))
    }


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that a line calls, and the words after its name."""
    size = max(n for n in range(len(words) + 1) if not n or tuple(words[:n]) in COMMANDS)
    return (COMMANDS[tuple(words[:size])] if size else main), words[size:]


def python_blocks() -> dict[str, str]:
    """{page: its blocks of Python, one after the other}; the notebook's cells too."""
    found = {}
    for page in PAGES:
        blocks = [body for name, body in FENCE.findall(page.read_text("utf-8")) if name == "python"]
        if blocks and page.name != "plans.md":
            found[page.name] = "\n".join(blocks)
    notebook = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text("utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    found["tutorial.ipynb"] = "\n".join("".join(cell["source"]) for cell in cells)
    return found
