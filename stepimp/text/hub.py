"""Datasets of the Hugging Face hub as documents."""

import sys
from functools import cache

from stepimp.errors import StepimpError

ALIASES = {"openwebtext": "Skylion007/openwebtext", "lm1b": "billion-word-benchmark/lm1b"}
# lm1b is a loading script, which datasets no longer runs; the hub keeps a converted copy.
REVISIONS = {"lm1b": "refs/convert/parquet"}
# Documents held out at the end of a dataset without a test split, as MDLM does for openwebtext.
HELD_OUT = 100_000


@cache
def offline_unless_reachable():
    """If the hub does not answer, use its local cache at once instead of retrying for a minute."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HTTPError
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except (OSError, HTTPError):
        constants.HF_HUB_OFFLINE = True
        if datasets := sys.modules.get("datasets"):
            datasets.config.HF_HUB_OFFLINE = True


def load_hub(data: str):
    """A Hugging Face dataset as its own splits, a datasets.DatasetDict."""
    import datasets
    from huggingface_hub.errors import HTTPError

    offline_unless_reachable()
    try:
        return datasets.load_dataset(ALIASES.get(data, data), revision=REVISIONS.get(data))
    except (OSError, HTTPError, ValueError, RuntimeError) as error:
        raise StepimpError(
            f"Cannot load {data!r}: there is no such file or bundled corpus (docs, code), and the "
            f"Hugging Face hub did not give it ({type(error).__name__}). A text, JSON, CSV or "
            "parquet file works offline."
        ) from error


def hub_split(splits, data: str, split: str, column: str):
    """The documents of a hub dataset that are "train", "heldout" or "all".

    splits: a datasets.DatasetDict. Held out are its own test or validation split, else its last
    documents.
    """
    if "train" not in splits:
        raise StepimpError(f"{data} has no split 'train': its splits are {', '.join(splits)}.")
    train = as_documents(splits["train"], data, column)
    if split == "all":
        return train
    tests = [name for name in ("test", "validation") if name in splits]
    if tests:
        return train if split == "train" else as_documents(splits[tests[0]], data, column)
    cut = len(train) - min(HELD_OUT, len(train) // 10)
    return train.select(range(cut) if split == "train" else range(cut, len(train)))


def as_documents(dataset, data: str, column: str):
    """A datasets.Dataset of (name, text) from the text column; documents are named by number."""
    name, *inner = [column] if column in dataset.column_names else column.split(".")
    if name not in dataset.column_names:
        columns = ", ".join(dataset.column_names)
        raise StepimpError(f"{data} has no column {column!r}: its columns are {columns}.")
    if inner:
        dataset = dataset.select_columns([name]).flatten()
    if column not in dataset.column_names:
        columns = ", ".join(dataset.column_names)
        raise StepimpError(f"{data} has no column {column!r}: its columns are {columns}.")
    if dataset.features[column].dtype not in ("string", "large_string"):
        kind = dataset.features[column]
        raise StepimpError(f"{data}: its column {column!r} holds {kind}, not strings.")
    if nulls := dataset.data.column(column).null_count:
        raise StepimpError(f"{data}: {nulls} of its {len(dataset)} rows have no text.")
    dataset = dataset.select_columns([column])
    if column != "text":
        dataset = dataset.rename_column(column, "text")
    return dataset.add_column("name", [str(number) for number in range(len(dataset))])
