"""Which documents training sees and which are held out."""

import zlib

from stepimp.text.cache import digest
from stepimp.text.tables import cached, numbered

# With fewer documents than this, the last tenth of each document is held out instead of a tenth of
# the documents.
FEW_DOCUMENTS = 20


def split_of(name: str) -> str:
    """ "heldout" for a tenth of all document names, else "train"."""
    return "train" if zlib.crc32(name.encode("utf-8", "surrogatepass")) % 10 else "heldout"


def split_documents(documents, split: str):
    """The part of what `load_files` returns that belongs to "train", "heldout" or "all".

    Holds out a tenth of the documents; if there are few, the last tenth of each document's text.
    """
    import numpy as np

    if split == "all":
        return documents
    selected = [split_of(name) == split for name in documents["name"]]
    if len(documents) >= FEW_DOCUMENTS and any(selected) and not all(selected):
        return documents.select(np.flatnonzero(selected))
    train = split == "train"
    parts = (text[: cut(text)] if train else text[cut(text) :] for text in documents["text"])
    return cached(digest(documents._fingerprint, split), numbered(parts))


def cut(text: str) -> int:
    """Where the last tenth of a text begins."""
    return len(text) * 9 // 10
