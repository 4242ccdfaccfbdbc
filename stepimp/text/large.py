"""Text too large to be held in memory: a stream of fragments of its documents.

A measurement needs few of its sequences and reads the beginning of the split alone.
"""

import codecs
import io
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from stepimp.text.cache import digest
from stepimp.text.files import (
    cached_unchanged,
    documents_of,
    open_bytes,
    reader_of,
    say_once,
    text_rows,
)
from stepimp.text.splits import FEW_DOCUMENTS, cut, split_of
from stepimp.text.tables import cached

LARGE = 50_000_000  # bytes of files from which on they are read so
COMPRESSION = 4  # bytes of text, about, in one of a compressed file
FRAGMENT = 1 << 20  # bytes of a text file that are read at once
LINE = 1 << 20  # bytes in which a line break is looked for
HEAD = 4_000_000  # characters of a split that a measurement chooses its sequences from
Fragments = Iterator[tuple[str, str]]


def is_compressed(path: Path) -> bool:
    """Whether a file is compressed, by its name."""
    return path.suffix.lower() in (".gz", ".zst")


def is_large(files: list[Path]) -> bool:
    """Whether files together hold more text than is read at once."""
    sizes = (file.stat().st_size * (COMPRESSION if is_compressed(file) else 1) for file in files)
    return sum(sizes) > LARGE


def load_large(path: Path, files: list[Path], column: str, split: str, characters: int | None):
    """A split of files as a datasets.Dataset of (name, text), whose consecutive rows of the same
    name are one document.

    characters: enough of them, from the beginning; None: all. The whole split is named by the
    content of the files, its beginning by itself.
    """
    fragments = split_fragments(files, column, split)
    if characters is None:
        return cached_unchanged(files, column, fragments, split)
    head = list(beginning(fragments, characters))
    say_once(
        f"{path} is large: sequences come from the first {sum(len(text) for _, text in head):,} "
        f"characters of {'its text' if split == 'all' else f'the split {split}'}."
    )
    return cached(digest(split, *chain.from_iterable(head)), head)


def beginning(fragments: Fragments, characters: int) -> Fragments:
    """The first fragments, until they have this many characters."""
    total = 0
    for name, text in fragments:
        yield name, text
        total += len(text)
        if total >= characters:
            return


def split_fragments(files: list[Path], column: str, split: str) -> Fragments:
    """(name of its document, text) of the consecutive fragments of the documents of a split.

    As for smaller text, a tenth of the documents is held out, or the last tenth of each of a few;
    of a text file the last tenth in bytes, from a line break on.
    """
    few = len(list(islice(all_documents(files, column, "all"), FEW_DOCUMENTS))) < FEW_DOCUMENTS
    documents = all_documents(files, column, split if few else "all")
    for number, document in enumerate(documents):
        if few or split == "all" or split_of(str(number)) == split:
            yield from ((str(number), text) for text in document)


def all_documents(files: list[Path], column: str, part: str) -> Iterator[Iterable[str]]:
    """The fragments of each document, or of its first nine tenths ("train") or the last one
    ("heldout"). A text file is opened when its first fragment is asked for.
    """
    for file in files:
        if reader_of(file) is text_rows:
            yield text_fragments(file, column, part)
        else:
            yield from ([part_of(text, part)] for text in documents_of(file, column))


def part_of(text: str, part: str) -> str:
    """A text, its first nine tenths ("train") or the last one ("heldout")."""
    return {"all": text, "train": text[: cut(text)], "heldout": text[cut(text) :]}[part]


def text_fragments(path: Path, column: str, part: str) -> Iterator[str]:
    """The text of a file, or a part of it as for `all_documents`, in fragments."""
    rows = ({column: text} for text in decoded(path, part))
    yield from documents_of(path, column, rows)


def decoded(path: Path, part: str) -> Iterator[str]:
    """The text of a part of a UTF-8 file, without its byte-order mark and with line ends as a text
    stream has them.
    """
    start = cut_of_file(path) if part == "heldout" else 0
    stop = cut_of_file(path) if part == "train" else None
    utf8 = codecs.getincrementaldecoder("utf-8-sig" if start == 0 else "utf-8")()
    decoder = io.IncrementalNewlineDecoder(utf8, translate=True)
    with open_bytes(path) as file:
        skip(file, start)
        while data := file.read(FRAGMENT if stop is None else min(FRAGMENT, stop - start)):
            start += len(data)
            yield decoder.decode(data)
        if text := decoder.decode(b"", final=True):
            yield text


def skip(file, size: int):
    """Leaves out the first bytes of a stream."""
    if file.seekable():
        file.seek(size)
    else:
        while size > 0 and (data := file.read(min(FRAGMENT, size))):
            size -= len(data)


def cut_of_file(path: Path) -> int:
    """The byte of a text file at which its last tenth begins: after a line break near it, else
    between two characters.
    """
    with open_bytes(path) as file:
        if is_compressed(path):
            size = sum(map(len, iter(lambda: file.read(FRAGMENT), b"")))
        else:
            size = path.stat().st_size
    with open_bytes(path) as file:
        start = size * 9 // 10
        skip(file, start)
        line = file.readline(LINE)
    if line.endswith(b"\n"):
        return start + len(line)
    return start + next((i for i, byte in enumerate(line) if byte & 0xC0 != 0x80), len(line))
