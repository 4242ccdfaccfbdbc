"""Writes the tables of docs/bundled.md from the reference run: python docs/make_bundled.py."""

import re
from pathlib import Path

from stepimp.intervals import Estimate
from stepimp.models.family import family_folder, members
from stepimp.paper.claims import as_table, claims
from stepimp.paper.describe import reference_folder
from stepimp.paper.formats import markdown
from stepimp.paper.needs import find_documents

PAGE = Path(__file__).with_name("bundled.md")
# the table of each name stands between <!-- NAME --> and <!-- end -->
PLACE = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
COLUMNS = ["family", "model", "blocks", "parameters", "NELBO", "minus 12b", "minus the next deeper"]


def nelbo_table(documents: dict) -> str:
    """NELBO of each member with its paired differences, nats per token."""
    lines = [COLUMNS, ["---"] * len(COLUMNS)]
    for need in ("kl", "kl_lm1b"):
        document = documents[need]
        folder = family_folder(document["params"]["family"])
        facts = {member["name"]: member for member in members(folder)}
        for row in document["nelbo"]:
            member, name = facts[row["model"]], row["model"]
            heavy = name == document["params"]["heavy"]
            differences = ["" if heavy else "nelbo_diff_nats", "deeper_diff_nats"]
            cells = [Estimate.of(row, column).text(3) for column in differences]
            size = [str(member["blocks"]), f"{member['parameters']:,}"]
            nelbo = Estimate.of(row, "nelbo_nats").text(3)
            shown = ["" if cell == "-" else cell for cell in cells]
            lines.append([folder.name, name, *size, nelbo, *shown])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def claims_table(documents: dict) -> str:
    """The verdict on each claim of the paper."""
    return markdown(as_table(claims(documents), documents))


def page() -> str:
    """The page with its tables as the reference run has them."""
    documents = find_documents(reference_folder())
    tables = {"nelbo": nelbo_table, "claims": claims_table}
    return PLACE.sub(
        lambda place: f"{place[1]}\n{tables[place[2]](documents)}\n{place[3]}",
        PAGE.read_text("utf-8"),
    )


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
