"""The beginning of a split of a large dataset of the Hugging Face hub, read without the rest.

Which documents are held out does not depend on how much of them is read.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from pathlib import Path

from stepimp.text import large
from stepimp.text.cache import digest
from stepimp.text.files import cell, say_once
from stepimp.text.hub import explained, held_out_count, open_builder, splits_for
from stepimp.text.tables import cached


def load_beginning(data: str, split: str, column: str, characters: int):
    """The first documents of a split of a large hub dataset, as `load_documents` returns them.

    characters: enough of them. None where the dataset is small, or where the place of its held-out
    documents is known only when all of it has been read. A dataset that is in the local cache is
    read from there, else streamed from the hub. Raises StepimpError where neither is possible.
    """
    with explained(data):
        builder = open_builder(data)
        if not is_large(builder):
            return None
        rows = split_rows(builder, data, split)
        if rows is None:
            return None
        texts = ((name, cell(row, column, f"{data}, document {name}")) for name, row in rows)
        head = list(large.beginning(texts, characters))
    say_once(
        f"{data} is large: sequences come from the first {sum(len(text) for _, text in head):,} "
        f"characters of the split {split}."
    )
    return cached(digest(split, *(part for row in head for part in row)), head)


def is_large(builder) -> bool:
    """Whether a dataset holds more text than is read at once, by its card or by its files."""
    if builder.info.splits and (
        size := sum(part.num_bytes for part in builder.info.splits.values())
    ):
        return size > large.LARGE
    sizes = (file_size(file) for part in files_of(builder).values() for file in part)
    return any(total > large.LARGE for total in accumulate(sizes))


def file_size(file: str) -> int:
    """Bytes of text, about, in a file of a dataset."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(file)
    compressed = is_parquet(file) or large.is_compressed(Path(path))
    return system.size(path) * (large.COMPRESSION if compressed else 1)


def files_of(builder) -> dict[str, list[str]]:
    """The addresses of the files of each split; empty for a dataset that comes from the cache."""
    return {
        str(name): list(map(str, files))
        for name, files in (builder.config.data_files or {}).items()
    }


def is_parquet(file: str) -> bool:
    """Whether a file is a parquet file, by its name."""
    return file.endswith(".parquet")


def split_rows(builder, data: str, split: str) -> Iterator[tuple[str, dict]] | None:
    """(number, row) of each document of a split, read as they are asked for; None where it is not
    known at which one the split begins or ends.
    """
    splits = builder.as_dataset() if is_prepared(builder) else builder.as_streaming_dataset()
    name, is_part = splits_for(splits, data, split)
    if not is_part:
        return numbered(splits[name])
    files = files_of(builder).get(name, [])
    count = row_count(builder, splits[name], name, files)
    if count is None:
        return None
    cut = count - held_out_count(count)
    if split == "train":
        return islice(numbered(splits[name]), cut)
    if is_prepared(builder):
        return numbered(splits[name].select(range(cut, count)), cut)
    return last_rows(splits[name], files, count, cut)


def is_prepared(builder) -> bool:
    """Whether a dataset is in the local cache as a whole."""
    import datasets

    return Path(builder.cache_dir, datasets.config.DATASET_INFO_FILENAME).exists()


def numbered(rows: Iterable[dict], first: int = 0) -> Iterator[tuple[str, dict]]:
    """(number, row) of each row."""
    return ((str(number), row) for number, row in enumerate(rows, first))


def row_count(builder, rows, name: str, files: list[str]) -> int | None:
    """Documents of a split, None where its files would have to be read to know."""
    if is_prepared(builder):
        return len(rows)
    if builder.info.splits and name in builder.info.splits:
        return builder.info.splits[name].num_examples
    if files and all(map(is_parquet, files)):
        return sum(map(parquet_rows, files))
    return None


def parquet_rows(file: str) -> int:
    """Rows of a parquet file, by its footer."""
    import pyarrow.parquet
    from fsspec.core import url_to_fs

    system, path = url_to_fs(file)
    with system.open(path, "rb") as stream:
        return pyarrow.parquet.read_metadata(stream).num_rows


def last_rows(rows, files: list[str], count: int, cut: int) -> Iterator[tuple[str, dict]] | None:
    """The documents from number `cut` on of a streamed split of `count`, of which at most one
    file's earlier ones are read; None where the files do not say how many they hold.
    """
    if len(files) != rows.num_shards or not all(map(is_parquet, files)):
        return None
    start, file = count, len(files)
    while start > cut:
        file -= 1
        start -= parquet_rows(files[file])
    shards = (rows.shard(len(files), number) for number in range(file, len(files)))
    return islice(numbered((row for shard in shards for row in shard), start), cut - start, None)
