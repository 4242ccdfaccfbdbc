"""Which documents training sees and which are held out."""

import zlib

# With fewer documents than this, the last tenth of each document is held out instead of a tenth of
# the documents.
FEW_DOCUMENTS = 20


def split_of(name: str) -> str:
    """ "heldout" for a tenth of all document names, else "train"."""
    return "train" if zlib.crc32(name.encode("utf-8", "surrogatepass")) % 10 else "heldout"


def split_documents(documents, split: str):
    """The part of a datasets.Dataset of (name, text) that belongs to "train", "heldout" or "all".

    Holds out a tenth of the documents; if there are few, the last tenth of each document's text.
    """
    import datasets
    import numpy as np

    if split == "all":
        return documents
    selected = [split_of(name) == split for name in documents["name"]]
    if len(documents) >= FEW_DOCUMENTS and any(selected) and not all(selected):
        return documents.select(np.flatnonzero(selected))
    names, texts = documents["name"], documents["text"]
    cuts = [len(text) * 9 // 10 for text in texts]
    parts = [text[:cut] if split == "train" else text[cut:] for text, cut in zip(texts, cuts)]
    return datasets.Dataset.from_dict({"name": names, "text": parts})
