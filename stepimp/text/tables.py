"""Documents as an Arrow file of the cache: rows of (name, text)."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from stepimp.errors import StepimpError, advice
from stepimp.scratch import replacing
from stepimp.text.cache import cache_file

TOGETHER = 16  # rows that are read at once
BATCH = 1_000_000  # characters that are written at once


def cached(key: str, rows: Iterable[tuple[str, str]]):
    """Rows of (name, text) as a datasets.Dataset, read from the cache where they are in it.

    key: names the rows, and is the fingerprint of the dataset.
    """
    import datasets
    import pyarrow

    path = cache_file(f"text-{key}.arrow")
    if fresh := not path.exists():
        write_table(path, rows)
    try:
        documents = datasets.Dataset.from_file(str(path))
    except (pyarrow.ArrowException, OSError):  # cut off, as by a loss of power
        if fresh:
            raise
        write_table(path, rows)
        documents = datasets.Dataset.from_file(str(path))
    documents._fingerprint = key
    documents.written_to = path
    return documents


def rows_of(documents) -> Iterator[tuple[str, str]]:
    """(name, text) of each row of a datasets.Dataset of these columns.

    All of what `cached` returns is read as a stream: pages of a memory map would count as memory.
    """
    import pyarrow

    if path := getattr(documents, "written_to", None):
        with pyarrow.OSFile(str(path)) as file, pyarrow.ipc.open_stream(file) as batches:
            for batch in batches:
                yield from zip(batch["name"].to_pylist(), batch["text"].to_pylist())
    else:
        for table in documents.with_format("arrow").iter(TOGETHER):
            yield from zip(table["name"].to_pylist(), table["text"].to_pylist())


def numbered(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(name, text) of each text; names are numbers."""
    return ((str(number), text) for number, text in enumerate(texts))


def write_table(path: Path, rows: Iterable[tuple[str, str]]):
    """Rows as an Arrow file of (name, text), whole or not at all."""
    import pyarrow

    columns = pyarrow.schema([("name", pyarrow.string()), ("text", pyarrow.string())])
    try:
        with (
            replacing(path) as scratch,
            pyarrow.OSFile(str(scratch), "wb") as file,
            pyarrow.ipc.new_stream(file, columns) as writer,
        ):
            for batch in batched_by_size(rows):
                names, texts = map(list, zip(*batch))
                writer.write_batch(pyarrow.record_batch([names, texts], schema=columns))
    except OSError as error:
        raise StepimpError(
            f"Cannot write {path} ({error.strerror}). {advice(error)} STEPIMP_CACHE sets it."
        ) from error
    finally:
        pyarrow.default_memory_pool().release_unused()


def batched_by_size(rows: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Consecutive rows of about BATCH characters of text together."""
    batch: list[tuple[str, str]] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row[1])
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
