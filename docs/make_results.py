"""Writes docs/results.md from the row types in stepimp/rows.py: python docs/make_results.py."""

from pathlib import Path

from stepimp.columns import columns
from stepimp.rows import PARTS

INTRODUCTION = """# Results documents

A run writes one JSON document into the results folder: `schema`, `command`, `params` (everything
the numbers depend on), `provenance` (version, commit, command line, versions, device, seed,
fingerprints of models and text, start, seconds) and the parts below, a list of rows each. A column
with an interval has two more, `_low` and `_high`, the ends of its 95% interval. An end that
could not be measured is null, and so is a value where its type says so.

A heading below is a kind of document, the first word of its file's name. `curves` is what `stepimp
kl` and `stepimp loss` write; `loss` and `kl` are its two views, which version 0.1 wrote separately.
`recommend_masked` is from `stepimp recommend --over masked`, `policies` from `stepimp compare
--policies`; the others have the name of their command.

This page is written by `python docs/make_results.py` from the types in `stepimp/rows.py`.
"""


def table(row_type: type) -> str:
    """The columns of a row type as a Markdown table under its description."""
    listed = columns(row_type)
    names = {column.name for column in listed}
    ends = {f"{name}{end}" for name in names for end in ("_low", "_high")} & names
    lines = [" ".join((row_type.__doc__ or "").split()), ""]
    lines += ["| column | type | interval | meaning |", "|---|---|---|---|"]
    for column in listed:
        if column.name not in ends:
            interval = "95%" if f"{column.name}_low" in ends else ""
            kind = column.type.__name__ + (" or null" if column.nullable else "")
            kind += "" if column.required else ", may be absent"
            meaning = column.meaning.replace("|", "\\|")
            lines.append(f"| `{column.name}` | {kind} | {interval} | {meaning} |")
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    sections = [INTRODUCTION]
    for command, parts in PARTS.items():
        sections.append(f"## {command}\n")
        for part, row_types in parts.items():
            sections.append(f"### {command}: `{part}`\n")
            sections += [f"{table(row_type)}\n" for row_type in row_types]
    return "\n".join(sections)


if __name__ == "__main__":
    Path(__file__).with_name("results.md").write_text(page(), "utf-8")
