"""Pieces of HTML. Whatever comes from a document is escaped here."""

from html import escape


def tag(name: str, content: str = "", **attributes) -> str:
    """One element around `content`, which is HTML already. class_ stands for class, aria_label for
    aria-label.
    """
    names = {key: key.rstrip("_").replace("_", "-") for key in attributes}
    given = "".join(f' {names[key]}="{escape(str(value))}"' for key, value in attributes.items())
    return f"<{name}{given}>{content}</{name}>"


def scroller(content: str, label: str) -> str:
    """A box that scrolls sideways where the page is narrow, by keyboard as well."""
    return tag("div", content, class_="scroll", role="region", tabindex=0, aria_label=label)


def table(columns: list, rows: list[list], title: str) -> str:
    """A table with `title` as its caption; the first cell of a row is its header."""
    head = "".join(tag("th", escape(str(column)), scope="col") for column in columns)
    body = "".join(tag("tr", "".join(cells(row))) + "\n" for row in rows)
    whole = (
        tag("caption", tag("span", escape(title)))
        + tag("thead", tag("tr", head))
        + tag("tbody", "\n" + body)
    )
    return scroller(tag("table", whole), title)


def cells(row: list) -> list[str]:
    """The cells of a row as HTML, the first a header."""
    first, *others = (escape("–" if cell is None else str(cell)) for cell in row)
    return [tag("th", first, scope="row"), *(tag("td", other) for other in others)]
