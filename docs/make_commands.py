"""The page of all commands, made of their help: python docs/make_commands.py prints it."""

import click

from stepimp.commands import main

COMMANDS = """# Commands

Each command has `--help`; this page is made from it. All commands that measure have `--seed`,
`--out` and `--json`; `--json` prints the results document on stdout and nothing else. Exit codes
are 0, 1 where a run failed, 2 for bad usage, and 128 plus the number of a signal that ended it.

**Completion.** With this line in `~/.bashrc`, Tab completes commands and options (for zsh
`zsh_source` and `~/.zshrc`; for fish `_STEPIMP_COMPLETE=fish_source stepimp | source` in its
configuration):

```sh
eval "$(_STEPIMP_COMPLETE=bash_source stepimp)"
```
"""


def command_page() -> str:
    """The help of every command under a heading of its own."""
    listed = ["| command | does |", "|---|---|"]
    sections = []
    for name, command in sorted(main.commands.items()):
        first, *_ = (command.help or "").split("\n\n")
        listed.append(f"| [`stepimp {name}`](#stepimp-{name}) | {' '.join(first.split())} |")
        sections += command_sections(command, f"stepimp {name}")
    return "\n".join([COMMANDS, *listed, "", *sections])


def command_sections(command: click.Command, name: str) -> list[str]:
    """A command's help, then that of its subcommands. name: as it is called."""
    context = click.Context(command, info_name=name, terminal_width=88, max_content_width=88)
    sections = [f"## {name}\n\n```text\n{command.get_help(context)}\n```\n"]
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            sections += command_sections(subcommand, f"{name} {subcommand.name}")
    return sections


if __name__ == "__main__":
    print(command_page())
