"""What mkdocs does beside its plugins: pages made of the command line and of the notebook, formulas
as MathML, and links that mean another file in a checkout than on the site.
"""

import re
import sys
from html import unescape
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

sys.path.insert(0, str(Path(__file__).parent))
from make_commands import command_page  # noqa: E402

NOTEBOOK = Path(__file__).with_name("tutorial.ipynb")
LINKS = {"tutorial.ipynb": "tutorial.md", "../commands": "commands.md"}
FORMULA = re.compile(r'<(div|span) class="arithmatex">\\[\[(](.*?)\\[\])]</\1>', re.DOTALL)


def on_files(files, config):
    """Adds the generated pages."""
    files.append(File.generated(config, "commands.md", content=command_page()))
    files.append(File.generated(config, "tutorial.md", content=notebook_page()))
    return files


def on_page_markdown(markdown, page, **_):
    """In a checkout links lead to the notebook and to the source of the commands."""
    for checkout, site in LINKS.items():
        markdown = markdown.replace(f"({checkout})", f"({site})")
    return markdown


def on_page_content(html, **_):
    """Formulas as MathML, which browsers draw by themselves."""
    display = {"div": "block", "span": "inline"}
    return FORMULA.sub(lambda m: convert(unescape(m[2]), display=display[m[1]]), html)


def notebook_page() -> str:
    """The tutorial with its outputs."""
    page, _ = MarkdownExporter().from_notebook_node(nbformat.read(NOTEBOOK, as_version=4))
    return page
