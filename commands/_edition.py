"""Figures, tables, verdicts and the report, as `stepimp figures` and `reproduce` write them."""

from pathlib import Path


class Edition:
    """Figures and tables in a folder, made from documents and made again as those change.

    documents: {need: document or None}; family: whose commands would make what is missing.
    made: {name: Figure or Table}; written: {name: its files}; missing: {name: commands}; lacking:
    {name: the model that the family would need}.
    """

    def __init__(self, folder: Path, documents: dict[str, dict | None], family: str | None):
        self.folder, self.documents, self.family = folder, documents, family
        self.made: dict = {}
        self.written: dict[str, list[str]] = {}
        self.missing: dict[str, list[str]] = {}
        self.lacking: dict[str, str] = {}

    def make(self, name: str):
        """Draws a figure or writes a table, or notes the command that makes what it needs."""
        from stepimp.paper.contents import CLAIMS, DRAWN, TABLES
        from stepimp.paper.lacks import lacks
        from stepimp.paper.needs import incomplete
        from stepimp.paper.recipes import made_by

        sources = [document for document in self.documents.values() if document]
        if name != CLAIMS:
            need = (DRAWN | TABLES)[name].need
            document = self.documents[need]
            if not document and (model := lacks(need, self.family, self.documents)):
                self.lacking[name] = model
                return
            if not document:
                self.missing[name] = [made_by(need, self.family, self.documents)]
                return
            sources = [document]
        try:
            self.made[name], paths = self.draw(name) if name in DRAWN else self.tabulate(name)
        except LookupError as error:
            raise incomplete(sources, error) from error
        self.missing.pop(name, None)
        self.written[name] = [str(path) for path in paths]

    def draw(self, name: str) -> tuple:
        """(figure, its files) of this name."""
        from stepimp.paper.contents import DRAWN
        from stepimp.plots import figures, style

        document = self.documents[DRAWN[name].need]
        assert document, "only what is there is drawn"
        figure = figures.draw(name, document)
        return figure, style.save(figure, self.folder, name)

    def tabulate(self, name: str) -> tuple:
        """(table, its files) of this name."""
        from stepimp.paper import formats
        from stepimp.paper.claims import as_table
        from stepimp.paper.contents import CLAIMS
        from stepimp.paper.tables import BUILDS

        if name == CLAIMS:
            table = as_table(self.claims(), self.documents)
        else:
            table = BUILDS[name](self.documents)
        return table, formats.save(table, self.folder, name)

    def claims(self) -> list:
        """The verdict on each of the paper's claims."""
        from stepimp.paper.claims import claims

        return claims(self.documents)

    def write_report(self):
        """The page of all that was made."""
        from stepimp.paper.contents import DRAWN, TABLES
        from stepimp.paper.formats import text
        from stepimp.paper.needs import incomplete
        from stepimp.plots.report import inline, page
        from stepimp.results import write_atomically

        figures = {name: inline(self.made[name], name) for name in DRAWN if name in self.made}
        tables = [
            {"name": name}
            | vars(self.made[name])
            | {"rows": [[text(cell) for cell in row] for row in self.made[name].rows]}
            for name in TABLES
            if name in self.made
        ]
        documents = {document["path"]: document for document in self.documents.values() if document}
        advice = self.documents["recommend"]
        missing = self.missing if advice else {"explorer": self.missing["tradeoff"]} | self.missing
        try:
            whole = page(figures, tables, self.claims(), list(documents.values()), missing)
        except LookupError as error:
            raise incomplete(list(documents.values()), error) from error
        path = self.folder / "report.html"
        write_atomically(path, whole)
        self.written["report"] = [str(path)]
