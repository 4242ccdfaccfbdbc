"""The report: one page with all that was found. It loads nothing, so it opens anywhere, with no
network.
"""

import base64
import hashlib
import io
import json
import re
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from stepimp.paper.contents import label
from stepimp.paper.describe import is_reference
from stepimp.wording import counted

from .explorer import explorer
from .markup import table, tag
from .notes import words
from .style import house

SIGNS = {"reproduced": "✓", "not reproduced": "✗", "undecided": "?"}
ORIGIN = {
    "version": "stepimp",
    "git_commit": "commit",
    "command_line": "command line",
    "started": "date",
    "wall_seconds": "seconds",
    "device": "device",
    "dtype": "dtype",
    "seed": "seed",
    "python": "Python",
    "torch": "torch",
}
STYLESHEET = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", re.DOTALL)
REFERENCE = re.compile(r'(\sid="|href="#|url\(#)')


def page(
    figures: dict, tables: list[dict], claims: list[dict], documents: list[dict], missing: dict
) -> str:
    """The report as HTML. The same input gives the same bytes.

    figures: name -> (title, notes, svg), as `inline` gives them; tables: name, title, columns,
    rows and note of each; claims: claim, verdict (a key of SIGNS), reason and needs of each,
    the last being commands with ", then " between them, or None; documents: the results all this
    comes from, with their paths; missing: name of what is left out -> commands that make what it
    needs. Raises LookupError for a `recommend` document without its trade-off or curves.
    """
    advice = next((document for document in documents if document["command"] == "recommend"), None)
    script = part("explorer.js") if advice else ""
    sections = {
        "claims": ("The paper's claims", claim_list(claims)),
        "explorer": (
            "Schedule explorer",
            advice and fill("explorer.html", **explorer(advice), script=script),
        ),
        "figures": ("Figures", figure_list(figures)),
        "tables": ("Tables", "\n".join(map(titled_table, tables))),
        "missing": ("Not there yet", absent(missing)),
        "provenance": ("Where the results come from", "\n".join(map(origin, documents))),
    }
    filled = [(name, *section) for name, section in sections.items() if section[1]]
    links = (tag("a", heading, href=f"#{name}") for name, heading, _ in filled)
    shown = (
        tag("section", f"{tag('h2', heading)}\n{content}\n", id=name)
        for name, heading, content in filled
    )
    return fill(
        "template.html",
        policy=policy(script),
        style=part("style.css"),
        summary=summary(documents),
        contents="".join(tag("li", link) for link in links),
        sections="\n".join(shown),
    )


def part(name: str) -> str:
    """The content of a file of the page."""
    return (files("stepimp.plots") / "page" / name).read_text("utf-8")


def fill(name: str, **places: str) -> str:
    """A template of the page with its places filled in."""
    return Template(part(name)).substitute(places)


def policy(script: str) -> str:
    """The browser then loads nothing and runs this script alone, whatever a document may have
    smuggled in.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )


def summary(documents: list[dict]) -> str:
    """What the report is made from, in a sentence."""
    versions = sorted({document["provenance"]["version"] for document in documents})
    models = dict.fromkeys(
        model
        for document in documents
        for model in document["provenance"].get("fingerprints", {}).get("models", {})
    )
    of = f" on the models {', '.join(models)}" if models else ""
    shipped = sum(map(is_reference, documents))
    of_reference = f" {shipped} of them from the shipped reference run, not measured here."
    count = counted(len(documents), "results document")
    return escape(
        f"{count} of stepimp {', '.join(versions)}{of}, beside what the paper printed."
        f"{of_reference if shipped else ''}"
    )


def claim_list(claims: list[dict]) -> str:
    """One line per claim, its verdict in words."""
    lines = "\n".join(claim_line(*numbered) for numbered in enumerate(claims, 1))
    return tag("ol", lines, class_="claims") if claims else ""


def claim_line(number: int, claim: dict) -> str:
    """A claim with its verdict as a list item."""
    verdict = claim["verdict"]
    badge = tag(
        "strong", f"{SIGNS[verdict]} {verdict}", class_=f"verdict {verdict.replace(' ', '-')}"
    )
    wanting = (
        f" To decide it, run {chain(claim['needs'].split(', then '))}." if claim["needs"] else ""
    )
    text = tag("p", f"{number}. {escape(sentence(claim['claim']))}")
    return tag(
        "li", badge + text + tag("p", escape(sentence(claim["reason"])) + wanting, class_="reason")
    )


def sentence(text: str) -> str:
    """With a capital in front, and all others as they are."""
    return text[:1].upper() + text[1:]


def figure_list(figures: dict) -> str:
    """All figures as HTML."""
    listed = "\n".join(figure(name, *shown) for name, shown in figures.items())
    return tag("div", listed, class_="figures") if figures else ""


def figure(name: str, title: str, notes: str, svg: str) -> str:
    """A figure above its title, which links to itself, and its notes."""
    link = tag("a", tag("b", escape(title) + "."), href=f"#{name}")
    box = tag("div", svg, class_="card scroll", role="region", tabindex=0, aria_label=label(name))
    return tag(
        "figure",
        box + tag("figcaption", f"{link} {escape(notes)}", id=f"{name}-caption"),
        id=name,
    )


def inline(plot, name: str) -> tuple[str, str, str]:
    """(title, notes, svg) of a matplotlib figure, whose words leave the drawing.

    Ids get the figure's name in front, so that figures on one page keep their own.
    """
    (title, notes), buffer = words(plot), io.StringIO()
    plot.suptitle("\n" * plot.get_suptitle().count("\n"))  # room for the legend
    plot.supxlabel("")
    with house():
        plot.savefig(
            buffer, format="svg", metadata=dict.fromkeys(["Date", "Creator", "Format", "Type"])
        )
    svg = STYLESHEET.sub("", buffer.getvalue())
    svg = REFERENCE.sub(rf"\g<1>{name}-", svg[svg.index("<svg") :])
    return title, notes, svg.replace("<svg", f'<svg role="img" aria-labelledby="{name}-caption"', 1)


def titled_table(shown: dict) -> str:
    """A table with its note as HTML."""
    note = tag("p", escape(shown["note"]), class_="note") if shown["note"] else ""
    return tag(
        "div", table(shown["columns"], shown["rows"], shown["title"]) + note, id=shown["name"]
    )


def absent(missing: dict[str, list[str]]) -> str:
    """What is left out, each name as an anchor, by the commands that would make it."""
    by_command: dict[tuple[str, ...], list[str]] = {}
    for name, commands in missing.items():
        by_command.setdefault(tuple(commands), []).append(tag("span", label(name), id=name))
    lines = (
        tag("li", f"{', '.join(names)}: run {chain(commands)}")
        for commands, names in by_command.items()
    )
    return tag("ul", "\n".join(lines)) if missing else ""


def chain(commands) -> str:
    """Commands as HTML, in the order in which they run."""
    return ", then ".join(tag("code", escape(command)) for command in commands)


def origin(document: dict) -> str:
    """One results document, folded: what made it, where, when and from what."""
    provenance = document["provenance"]
    prints = provenance.get("fingerprints", {})
    rows = [[label, provenance.get(column)] for column, label in ORIGIN.items()]
    rows += [
        [f"fingerprint of {model}", value] for model, value in prints.get("models", {}).items()
    ]
    rows += [["fingerprint of the data", prints.get("data")]]
    params = {key: value for key, value in document["params"].items() if value is not None}
    rows += [
        [f"parameter {key}", json.dumps(value, ensure_ascii=False)] for key, value in params.items()
    ]
    file = Path(document["path"]).name
    command = str(provenance.get("command_line", document["command"]))
    heading = tag("summary", f"{tag('code', escape(file))} {escape(command)}")
    return tag("details", heading + table(["what", "value"], rows, f"Origin of {file}"))
