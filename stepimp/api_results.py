"""What the functions of `stepimp.api` return: results documents that show themselves."""

import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from stepimp import pictures
from stepimp.curves.document import KINDS
from stepimp.documents import read_document
from stepimp.errors import StepimpError
from stepimp.intervals import Estimate
from stepimp.quality.samples_file import read_lines
from stepimp.schedules.schedule import Schedule, parse
from stepimp.wording import counted

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, repr=False)
class Result:
    """A results document; docs/results.md lists the columns of its rows."""

    document: dict[str, Any]
    """The content of the file: `params`, `rows`, `provenance` and what else the command writes."""
    kinds: ClassVar[tuple[str, ...]]
    """Commands whose documents these are."""

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """The result in a file that a command or another session wrote.

        Raises StepimpError for a file that cannot be read or holds another kind of document.
        """
        return cls(cls.read_kind(path))

    @classmethod
    def read_kind(cls, path: str | os.PathLike[str]) -> dict[str, Any]:
        """The document in a file. Raises StepimpError for one of another kind."""
        if not isinstance(path, str | os.PathLike):
            raise StepimpError(f"{type(path).__name__} is not the path of a results file.")
        document = read_document(Path(path).expanduser())
        if document["command"] not in cls.kinds:
            raise StepimpError(
                f"{document['path']} is a document of {document['command']}; {cls.__name__} holds "
                f"those of {' and '.join(cls.kinds)}."
            )
        return document

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.summary()}; {self.path})"

    def summary(self) -> str:
        """The result in a few words."""
        raise NotImplementedError

    @property
    def rows(self) -> list[dict]:
        """One dict per row."""
        return self.document["rows"]

    @property
    def path(self) -> str:
        """The file that holds the document."""
        return self.document["path"]

    def to_pandas(self) -> "pandas.DataFrame":
        """The rows as a table, a column per key.

        A table lacks the parameters and the provenance, so that it cannot stand for the result:
        pass on the result itself, or `read` its file again.
        """
        import pandas

        return pandas.DataFrame(self.rows)


@dataclass(frozen=True, repr=False)
class Curves(Result):
    """How far light models lie from the heavy one at each t; in a notebook a plot with 95% bands.

    A row per light model and time.
    """

    kinds = KINDS

    def summary(self) -> str:
        """The models, how many times were measured, and the length of the sequences."""
        params = self.document["params"]
        baseline = f", baseline {params['baseline']}" if params["baseline"] else ""
        return (
            f"{', '.join(params['lights'])} against {params['heavy']}{baseline}; "
            f"{counted(len({row['t'] for row in self.rows}), 'time')}, sequences of "
            f"{counted(params['length'], 'token')}"
        )

    @property
    def relative(self) -> bool:
        """Whether there is a baseline, so that rows have a relative KL."""
        return "relative_kl_nats" in self.rows[0]

    def points(self, column: str) -> dict[str, list[pictures.Point]]:
        """model -> (t, value, low, high) of a column with a 95% interval, such as "kl_nats".

        Raises StepimpError for a column that the rows do not have.
        """
        numbers = [name.removesuffix("_low") for name in self.rows[0] if name.endswith("_low")]
        if column not in numbers:
            raise StepimpError(
                f"No column {column!r} with an interval: choose one of {', '.join(numbers)}."
            )
        points: dict[str, list[pictures.Point]] = {}
        for row in self.rows:
            points.setdefault(row["model"], []).append((row["t"], *Estimate.of(row, column)))
        return points

    def _repr_html_(self) -> str:
        """The relative KL, without a baseline the KL."""
        column = "relative_kl_nats" if self.relative else "kl_nats"
        name = "Relative KL" if self.relative else "KL(heavy || light)"
        return pictures.plot(self.points(column), f"{name}, nats per masked token")


@dataclass(frozen=True, repr=False)
class Recommendation(Result):
    """The best schedule under a budget; in a notebook a strip with what it is predicted to cost.

    The first row is the recommendation, the others are the hand-crafted schedules.
    """

    kinds = ("recommend",)

    def summary(self) -> str:
        """The schedule, what it saves and what it is predicted to cost, with 95% intervals."""
        return f"{self.rows[0]['schedule']} {self.prediction()}"

    def prediction(self) -> str:
        """What the schedule saves and what it is predicted to cost, with 95% intervals."""
        row = self.rows[0]
        return (
            f"saves {row['saved_flops']:.1%} of the FLOPs; predicted path KL "
            f"{Estimate.of(row, 'path_kl_nats').text()}, NELBO "
            f"{Estimate.of(row, 'nelbo_nats').text()} nats per token"
        )

    @property
    def schedule(self) -> Schedule:
        """The recommended schedule."""
        params = self.document["params"]
        light = min(params["lights"], key=self.document["blocks"].get)
        return parse(self.rows[0]["schedule"], params["heavy"], light)

    def _repr_html_(self) -> str:
        prediction = self.prediction()
        sentence = f"{prediction[0].upper()}{prediction[1:]}."
        return f"<div>{self.schedule._repr_html_()}<p>{escape(sentence)}</p></div>"


@dataclass(frozen=True, repr=False)
class Texts(Result):
    """Generated texts, and what they cost to sample."""

    samples: list[dict]
    """{"index", "tokens", "text"} of each sample: its number, its token ids and their text."""
    kinds = ("generate",)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """The result in a file, with the texts in the JSON Lines beside it; either file may be
        named.

        Raises StepimpError for a file that cannot be read or holds another kind of document.
        """
        if str(path).endswith(".jsonl"):
            path = str(path).removesuffix("l")
        document = cls.read_kind(path)
        lines = Path(document["path"]).with_name(document["rows"][0]["samples_file"])
        return cls(document, read_lines(lines, "text"))

    def summary(self) -> str:
        """The schedule, and how many texts of how many tokens it drew."""
        row = self.rows[0]
        return (
            f"{counted(row['samples'], 'text')} of {counted(row['length'], 'token')} with "
            f"{row['schedule']}"
        )

    def to_pandas(self) -> "pandas.DataFrame":
        """The texts as a table, a row for each sample; `rows` has what they share."""
        import pandas

        return pandas.DataFrame(self.samples)

    @property
    def texts(self) -> list[str]:
        """The text of each sample."""
        return [sample["text"] for sample in self.samples]

    @property
    def cost(self) -> dict:
        """What sampling cost in this run: `tokens` drawn, `forwards` (passes of one sequence),
        `batches`, `seconds` and `flops`; forward passes of each model as `forwards_of`, those that
        waited for the pass before as `sequential_of`, where a pass that samples share counts for
        each of them.
        """
        return self.document["cost"]

    def _repr_html_(self) -> str:
        shown = "".join(f"<pre>{escape(text)}</pre>" for text in self.texts)
        return f"<div><p>{escape(self.rows[0]['schedule'])}</p>{shown}</div>"
