"""Documents from files and folders on disk, as people have them.

A text file is one document; a row of a JSON, CSV or parquet file is one. Suffixes count in any
case, and each may be followed by .gz or .zst. Files are read as a stream, so that their size does
not matter, and cached by their content.
"""

import csv
import errno
import functools
import gzip
import io
import json
import logging
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from stepimp.errors import StepimpError, advice
from stepimp.text.bundled import BUNDLED
from stepimp.text.cache import digest, file_digest
from stepimp.text.tables import cached, numbered
from stepimp.wording import counted

log = logging.getLogger(__name__)

PREPARED = ".safetensors"  # of text as tokens, which trainings read
HUB_ID = re.compile(r"\w[\w.-]*(/[\w.-]+)?")  # ./name and ../name are paths
BACKUPS = ("~", ".bak", ".orig", ".swp", ".tmp")
csv.field_size_limit(2**31 - 1)  # the default of 131,072 characters is less than a document


def suffix_of(path: Path) -> str:
    """The suffix that says what a file holds, in lower case: `.jsonl` of `a.JSONL.gz`."""
    bare = Path(path.stem) if path.suffix.lower() in (".gz", ".zst") else path
    return bare.suffix.lower()


def open_bytes(path: Path):
    """A binary stream of a file, decompressed if its name ends in .gz or .zst; the latter cannot
    seek.
    """
    match path.suffix.lower():
        case ".gz":
            return gzip.open(path, "rb")
        case ".zst":
            import pyarrow

            return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))
    return open(path, "rb")


def open_text(path: Path, newline: str | None = None):
    """A text stream of a UTF-8 file, without its byte-order mark."""
    return io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline=newline)


def text_rows(path: Path, column: str) -> Iterator[dict]:
    """The whole file as one row. Decoded at once, which takes less memory than a text stream."""
    with open_bytes(path) as file:
        text = str(file.read(), "utf-8-sig")
    if "\r" in text:  # line ends as a text stream has them
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    yield {column: text}


def json_rows(path: Path, column: str) -> Iterator[dict]:
    """JSON Lines, or one JSON value that is a list of objects or an object."""
    with open_text(path) as file:
        number, first = next(((n, line) for n, line in enumerate(file, 1) if line.strip()), (1, ""))
        try:
            row = json.loads(first or "null")
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            yield row
            for later, line in enumerate(file, number + 1):
                if line.strip():
                    yield json_value(line, f"{path}, line {later}")
            return
        whole = first + file.read()
        value = json_value(whole, str(path)) if whole else []
        yield from value if isinstance(value, list) else [value]


def json_value(text: str, where: str):
    """The JSON value of a text. Raises StepimpError, which says where it is, for any other text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StepimpError(f"Cannot read {where} as json: {error}.") from error


def csv_rows(path: Path, column: str, delimiter=",") -> Iterator[dict]:
    """The rows of a file whose first line names its columns. Raises StepimpError for quotes that do
    not close, and for a row with more cells than columns: a part of the text would be lost.
    """
    with open_text(path, newline="") as file:
        rows, line = csv.DictReader(file, delimiter=delimiter, strict=True), 1
        try:
            names = rows.fieldnames or ()
            line = rows.line_num + 1
            for row in rows:
                if any(row.pop(None, ())):
                    raise StepimpError(
                        f"{path}, line {line}: this row has more cells than the first line, which "
                        f"names {counted(len(names), 'column')}. Put quotes around text that holds "
                        "the delimiter."
                    )
                yield row
                line = rows.line_num + 1
        except csv.Error as error:
            raise StepimpError(
                f"Cannot read the row that begins at {path}, line {line}: {error}. A cell that "
                'begins with a quote must end with one, with quotes inside of it doubled (""). '
                "JSON Lines need no such care."
            ) from error


def tsv_rows(path: Path, column: str) -> Iterator[dict]:
    """`csv_rows` with tabs between the columns."""
    return csv_rows(path, column, delimiter="\t")


def parquet_rows(path: Path, column: str) -> Iterator[dict]:
    """The rows of a parquet file, with the column asked for alone where it has that."""
    import pyarrow
    import pyarrow.parquet

    try:
        with open_bytes(path) as stream:
            compressed = path.suffix.lower() in (".gz", ".zst")
            file = pyarrow.parquet.ParquetFile(
                pyarrow.BufferReader(stream.read()) if compressed else stream
            )
            names = [
                name for name in (column, column.split(".")[0]) if name in file.schema_arrow.names
            ]
            for batch in file.iter_batches(batch_size=1000, columns=names[:1] or None):
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise StepimpError(f"Cannot read {path} as parquet: {error}.") from error


READERS: dict[str, Callable[[Path, str], Iterator[dict]]] = {
    ".txt": text_rows,
    ".text": text_rows,
    ".md": text_rows,
    ".rst": text_rows,
    ".json": json_rows,
    ".jsonl": json_rows,
    ".ndjson": json_rows,
    ".csv": csv_rows,
    ".tsv": tsv_rows,
    ".parquet": parquet_rows,
}


def reader_of(path: Path) -> Callable[[Path, str], Iterator[dict]]:
    """What reads a file of this kind; a file of an unknown kind is text."""
    return READERS.get(suffix_of(path), text_rows)


def cell(row, column: str, where: str) -> str:
    """The text of a row; a column `data.text` is the field `text` of the field `data`."""
    if not isinstance(row, dict):
        raise StepimpError(f"{where} is {type(row).__name__}, not an object with a text column.")
    value = row
    for name in [column] if column in row else column.split("."):
        if not isinstance(value, dict) or name not in value:
            columns = ", ".join(map(str, row))
            raise StepimpError(f"{where} has no column {column!r}: its columns are {columns}.")
        value = value[name]
    if value is None:
        raise StepimpError(f"{where} has no text in its column {column!r}: leave such rows out.")
    if not isinstance(value, str):
        raise StepimpError(f"{where}: its column {column!r} holds {value!r:.40}, not a string.")
    return value


def documents_of(path: Path, column: str, rows: Iterable[dict] | None = None) -> Iterator[str]:
    """The text of each row of a file. rows: those of the file's kind, unless they are given."""
    number = 0
    rows = reader_of(path)(path, column) if rows is None else rows
    try:
        for number, row in enumerate(rows, 1):
            text = cell(row, column, f"{path}, row {number}")
            text.encode()
            yield text
    except UnicodeEncodeError as error:
        raise StepimpError(
            f"{path}, row {number} is not text: it holds half of a surrogate pair."
        ) from error
    except UnicodeError as error:
        raise StepimpError(
            f"{path} is not UTF-8 text: convert it first (iconv -t UTF-8)."
        ) from error
    except (csv.Error, EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:  # of the system, not of the content
            raise
        raise StepimpError(f"Cannot read {path} after row {number}: {error}.") from error


@functools.cache
def say_once(message: str):
    """Logs a message the first time only: a corpus is read for each of its splits."""
    log.info(message)


def find_files(folder: Path) -> list[Path]:
    """The files of a folder and its sub-folders that hold text; logs what is skipped.

    Hidden files and folders and backup copies are skipped, as are files of other kinds.
    """
    files: list[Path] = []
    skipped: Counter[str] = Counter()
    for path in [folder, *sorted(folder.rglob("*"))]:
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_dir():
            if not hidden and not os.access(path, os.R_OK | os.X_OK):  # rglob passes over it
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            continue
        if path.exists() and not path.is_file():  # reading a named pipe may wait for ever
            skipped["pipe or device"] += 1
            continue
        if hidden or path.name.endswith(BACKUPS):
            skipped["hidden or backup"] += 1
        elif suffix_of(path) in READERS:
            files.append(path)
        else:
            skipped[suffix_of(path) or "without a suffix"] += 1
    if skipped:
        counts = ", ".join(f"{count} {kind}" for kind, count in skipped.most_common())
        say_once(f"{folder}: skipped {counted(skipped.total(), 'file')} ({counts}).")
    return files


def require_there(data: str):
    """Raises StepimpError for a file or folder of text that is not there, or a symbolic link that
    leads nowhere or in a circle. Reads nothing; any other name may be that of a dataset.
    """
    path = Path(data).expanduser()
    try:
        path.stat()
    except OSError as error:
        if path.is_symlink():
            raise StepimpError(f"Cannot read {path} ({error.strerror}). {advice(error)}") from error
        named = suffix_of(path) in (*READERS, PREPARED) or not HUB_ID.fullmatch(data)
        if isinstance(error, FileNotFoundError) and named:
            raise StepimpError(
                f"No such file: {data}. Give a file, a bundled corpus ({', '.join(BUNDLED)}) or a "
                "Hugging Face dataset id."
            ) from error


def source_name(data: str) -> str:
    """A corpus as manifests and results name it: a path holds from any working directory."""
    path = Path(data).expanduser()
    return str(path.resolve()) if data not in BUNDLED and path.exists() else data


def text_files(path: Path) -> list[Path]:
    """A file, or the files of a folder. Raises StepimpError where there is nothing in them."""
    files = find_files(path) if path.is_dir() else [path]
    if not files:
        raise StepimpError(f"No text in {path}: put files ending in {', '.join(READERS)} there.")
    if all(file.stat().st_size == 0 for file in files):
        raise StepimpError(f"{path} is empty: give a file with text in it.")
    return files


def content_key(files: list[Path], column: str) -> str:
    """Names the content of files."""
    named = ((suffix_of(file), file_digest(file)) for file in files)
    return digest(column, *chain.from_iterable(named))


def cached_unchanged(files: list[Path], column: str, rows: Iterable[tuple[str, str]], *names: str):
    """`cached` rows of files under a name that their content, the column and further names give.

    Raises StepimpError where a file changes meanwhile: its new text would be kept under the name of
    the old one.
    """
    before = [version_of(file) for file in files]
    key = content_key(files, column)

    def checked():
        yield from rows
        for file, version in zip(files, before):
            if version_of(file) != version:
                raise StepimpError(
                    f"{file} changed while it was read: run again when nothing writes to it."
                )

    return cached(digest(key, *names) if names else key, checked())


def version_of(file: Path) -> tuple[int, int, int]:
    """What changes when a file is written."""
    facts = file.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def load_files(path: Path, files: list[Path], column: str):
    """A file or a folder of files as a datasets.Dataset of (name, text).

    Documents are named by their number. Raises StepimpError for a file that cannot be read, is not
    UTF-8 or lacks the column.
    """

    def texts():
        return (text for file in files for text in documents_of(file, column))

    if next(texts(), None) is None:  # of which datasets makes no split
        raise StepimpError(f"{path} holds no documents: give a file with text in it.")
    documents = cached_unchanged(files, column, numbered(texts()))
    say_once(f"{path}: {counted(len(documents), 'document')} in {counted(len(files), 'file')}.")
    return documents
