"""Datasets of the Hugging Face hub as documents."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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

    datasets = sys.modules.get("datasets")
    if constants.HF_HUB_OFFLINE or (datasets and datasets.config.HF_HUB_OFFLINE):
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except (OSError, HTTPError):
        constants.HF_HUB_OFFLINE = True
        if datasets:
            datasets.config.HF_HUB_OFFLINE = True


@contextmanager
def explained(data: str) -> Iterator[None]:
    """Turns what goes wrong at the hub into a StepimpError that says what else works."""
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except StepimpError:
        raise
    except (OSError, HTTPError, ValueError, RuntimeError) as error:
        raise StepimpError(
            f"Cannot load {data!r}: there is no such file or bundled corpus (docs, code), and the "
            f"Hugging Face hub did not give it ({type(error).__name__}). A text, JSON, CSV or "
            "parquet file works offline, and so does a dataset that was downloaded before."
        ) from error


def load_hub(data: str):
    """A Hugging Face dataset as its own splits, a datasets.DatasetDict."""
    import datasets

    with explained(data):
        offline_unless_reachable()
        return datasets.load_dataset(ALIASES.get(data, data), revision=REVISIONS.get(data))


def open_builder(data: str):
    """The datasets.DatasetBuilder of a Hugging Face dataset, which has read none of its text."""
    import datasets

    offline_unless_reachable()
    return datasets.load_dataset_builder(ALIASES.get(data, data), revision=REVISIONS.get(data))


def splits_for(splits, data: str, split: str) -> tuple[str, bool]:
    """(name of a hub dataset's own split, whether its last documents are held out) for "train",
    "heldout" or "all".

    splits: a mapping by name. Raises StepimpError where there is no training text.
    """
    if "train" not in splits:
        raise StepimpError(f"{data} has no split 'train': its splits are {', '.join(splits)}.")
    tests = [name for name in ("test", "validation") if name in splits]
    if split == "heldout" and tests:
        return tests[0], False
    return "train", split != "all" and not tests


def held_out_count(documents: int) -> int:
    """How many of the last documents are held out of a dataset without a test split."""
    return min(HELD_OUT, documents // 10)


def hub_split(splits, data: str, split: str, column: str):
    """The documents of a hub dataset that are "train", "heldout" or "all".

    splits: a datasets.DatasetDict. Held out are its own test or validation split, else its last
    documents.
    """
    name, is_part = splits_for(splits, data, split)
    documents = as_documents(splits[name], data, column)
    if not is_part:
        return documents
    count = len(documents)
    cut = count - held_out_count(count)
    return documents.select(range(cut) if split == "train" else range(cut, count))


def as_documents(dataset, data: str, column: str):
    """A datasets.Dataset of (name, text) from the text column; documents are named by number."""
    name, *inner = [column] if column in dataset.column_names else column.split(".")
    if inner and name in dataset.column_names:
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
