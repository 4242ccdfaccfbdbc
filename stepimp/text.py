"""Text to token blocks, through the datasets library.

Corpora come as documents (name, text); a fixed part of the documents is held out from training.
Blocks are the documents' tokens, separated by the end-of-text token, cut every `length` tokens and
cached."""

import ast
import hashlib
import os
import sys
import sysconfig
import tempfile
import warnings
import zlib
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import datasets
import numpy as np
import torch
from huggingface_hub import constants
from huggingface_hub.utils import get_session

from stepimp.errors import StepimpError

HUB_ALIASES = {"openwebtext": "Skylion007/openwebtext", "lm1b": "billion-word-benchmark/lm1b"}
# lm1b is a loading script, which datasets no longer runs; the hub keeps a converted copy.
HUB_REVISIONS = {"lm1b": "refs/convert/parquet"}
HUB_HELD_OUT = (
    100_000  # last documents of a hub dataset without a test split, as MDLM does for openwebtext
)
FORMATS = {".txt": "text", ".md": "text", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
FEW_DOCUMENTS = (
    20  # below this the last tenth of each document is held out instead of a tenth of the documents
)
TOKENIZER_DOCUMENTS = 10_000  # a BPE vocabulary needs no more
# Parts of the standard library that are not in every Python 3.11+, or are not its own, and
# everybody's tests.
SKIPPED = set(
    [
        "site-packages",
        "test",
        "tests",
        "testing",
        "idle_test",
        "__pycache__",
        "idlelib",
        "lib2to3",
        "distutils",
        "pydoc_data",
    ]
)
# What stepimp and its requirements bring along, with the most prose in its docstrings.
DOCUMENTED = ("matplotlib", "networkx", "numpy", "pandas", "scipy", "sympy", "torch")


@dataclass(frozen=True)
class Blocks:
    """Token blocks [N, L] and the fingerprint of the corpus, tokenizer, length and split they come
    from.
    """

    tokens: torch.Tensor
    fingerprint: str


def cache_folder() -> Path:
    """Where corpora and blocks are kept: STEPIMP_CACHE, else stepimp/ in the user's cache
    folder.
    """
    folder = Path(
        os.environ.get("STEPIMP_CACHE")
        or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "stepimp"
    )
    folder = folder.expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StepimpError(
            f"Cannot write the cache folder {folder} ({error}). Set STEPIMP_CACHE to another."
        ) from None
    return folder


def digest(*parts: str) -> str:
    """12 hex digits that name the given strings."""
    state = hashlib.sha256()
    for part in parts:
        state.update(f"{len(part)}:".encode() + part.encode("utf-8", "surrogatepass"))
    return state.hexdigest()[:12]


def tokenizer_fingerprint(tokenizer) -> str:
    return digest(tokenizer.backend_tokenizer.to_str())


def sources(root: Path, within: Path):
    """(name, path) of every module in a folder, sorted by name; names are relative to `within`."""
    for path in sorted(root.rglob("*.py")):
        if SKIPPED.isdisjoint(path.relative_to(root).parts):
            yield path.relative_to(within).as_posix(), path


def stdlib_sources():
    """`sources` of this Python's standard library."""
    root = Path(sysconfig.get_paths()["stdlib"])
    return sources(root, root)


def read_source(path: Path) -> str:
    """A module's text, empty where it is no UTF-8."""
    try:
        return path.read_text("utf-8")
    except (UnicodeDecodeError, OSError):
        return ""


def docstrings(source: str) -> str:
    """All docstrings of a module in the order of the source, one blank line between them; none
    where it does not parse.
    """
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in other people's strings
            nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    except SyntaxError:
        return ""
    nodes.sort(key=lambda node: getattr(node, "lineno", 0))
    return "\n\n".join(filter(None, map(ast.get_docstring, nodes)))


def documented() -> list[str]:
    """Those of DOCUMENTED that are installed: some are requirements of requirements, which may drop
    them.
    """
    return [package for package in DOCUMENTED if find_spec(package)]


def bundled_code():
    """(name, function that reads the text) of the documents of the corpus `code`."""
    for name, path in stdlib_sources():
        yield name, partial(read_source, path)


def bundled_docs():
    """The same of the corpus `docs`: the reference of the language, then docstrings."""
    from pydoc_data.topics import topics

    for name, text in sorted(topics.items()):
        yield name, partial(str, text)
    folders = [Path(find_spec(package).submodule_search_locations[0]) for package in documented()]
    for name, path in chain(
        stdlib_sources(), *(sources(folder, folder.parent) for folder in folders)
    ):
        yield name, lambda path=path: docstrings(read_source(path))


BUNDLED = {"docs": bundled_docs, "code": bundled_code}


def load_bundled(name: str, split: str) -> datasets.Dataset:
    """A split of a bundled corpus, read from this Python's installation once and then from the
    cache.
    """
    versions = (
        [f"{package} {version(package)}" for package in documented()] if name == "docs" else []
    )
    folder = (
        cache_folder()
        / f"{name}-{split}-{digest(sys.version, sysconfig.get_paths()['stdlib'], *versions)}"
    )
    if not folder.exists():
        wanted = [
            (title, read()) for title, read in BUNDLED[name]() if split in ("all", split_of(title))
        ]
        names, texts = zip(*(document for document in wanted if document[1]))
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            datasets.Dataset.from_dict({"name": names, "text": texts}).save_to_disk(
                f"{scratch}/corpus"
            )
            try:
                os.rename(f"{scratch}/corpus", folder)
            except OSError:  # another process was first
                pass
    return datasets.load_from_disk(str(folder))


def load_files(path: Path) -> datasets.Dataset:
    """A text, JSON Lines or parquet file, or a folder of them, as documents."""
    files = sorted(p for p in path.rglob("*") if p.suffix in FORMATS) if path.is_dir() else [path]
    if not files:
        raise StepimpError(f"No text in {path}: put files ending in {', '.join(FORMATS)} there.")
    kinds = {FORMATS.get(p.suffix, "text") for p in files}
    if len(kinds) > 1:
        raise StepimpError(
            f"{path} mixes {' and '.join(sorted(kinds))} files: give a folder with one kind."
        )
    kind = kinds.pop()
    if all(p.stat().st_size == 0 for p in files):
        raise StepimpError(f"{path} is empty: give a file with text in it.")
    options = {"sample_by": "document"} if kind == "text" else {}
    try:
        found = datasets.load_dataset(
            kind,
            data_files=[str(p) for p in files],
            split="train",
            cache_dir=str(cache_folder()),
            **options,
        )
        found.data.validate(full=True)  # JSON and parquet come with strings nobody has decoded yet
    except Exception as error:  # datasets wraps the cause, whatever it is, in its own exception
        causes = [error]
        while causes[-1].__cause__ or causes[-1].__context__:
            causes.append(causes[-1].__cause__ or causes[-1].__context__)
        if any(
            isinstance(cause, UnicodeDecodeError) or "Invalid UTF8" in str(cause)
            for cause in causes
        ):
            raise StepimpError(
                f"{path} is not UTF-8 text: convert it first (iconv -t UTF-8)."
            ) from None
        raise StepimpError(f"Cannot read {path} as {kind}: {causes[-1]}") from None
    return as_documents(found, str(path))


@cache
def offline_unless_reachable():
    """Where the Hugging Face hub does not answer, go by its local cache at once, not after half a
    minute of retries.
    """
    if not constants.HF_HUB_OFFLINE:
        try:
            get_session().head(constants.ENDPOINT, timeout=5)
        except Exception:  # whatever it is, there is no connection
            constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True


def load_hub(data: str) -> datasets.DatasetDict:
    """A Hugging Face dataset as its own splits."""
    offline_unless_reachable()
    try:
        found = datasets.load_dataset(HUB_ALIASES.get(data, data), revision=HUB_REVISIONS.get(data))
    except (
        Exception
    ) as error:  # connection, authentication, no such dataset: one family of causes, no common type
        raise StepimpError(
            f"Cannot load {data!r}: it is no file, no bundled corpus ({', '.join(BUNDLED)}), and the Hugging Face hub "
            f"did not give it ({type(error).__name__}). Offline, --data FILE works with a text, JSONL or parquet file."
        ) from None
    return found


def as_documents(found: datasets.Dataset, where: str) -> datasets.Dataset:
    """Keep the text column and name each document by its place."""
    if "text" not in found.column_names:
        raise StepimpError(
            f"{where} has no column 'text': its columns are {', '.join(found.column_names)}."
        )
    if found.features["text"].dtype not in ("string", "large_string"):
        raise StepimpError(
            f"{where}: its column 'text' holds {found.features['text']}, not strings."
        )
    if nulls := found.data.column("text").null_count:
        raise StepimpError(
            f"{where}: {nulls} of its {len(found)} rows have no text: leave them out."
        )
    return found.select_columns(["text"]).add_column("name", [str(i) for i in range(len(found))])


def split_of(name: str) -> str:
    """ "heldout" for the tenth of the documents that training never sees, else "train". Fixed by
    the document's name.
    """
    return "train" if zlib.crc32(name.encode("utf-8", "surrogatepass")) % 10 else "heldout"


def load_documents(data: str, split: str) -> datasets.Dataset:
    """The documents (name, text) of a corpus that belong to a split: "train", "heldout" or
    "all".
    """
    datasets.disable_progress_bars()
    if data in BUNDLED:
        return load_bundled(data, split)
    path = Path(data).expanduser()
    if path.exists():
        return split_documents(load_files(path), split)
    if path.suffix in FORMATS:
        raise StepimpError(
            f"No such file: {data}. Give a file, a bundled corpus ({', '.join(BUNDLED)}) or a hub id."
        )
    return hub_split(load_hub(data), data, split)


def split_documents(documents: datasets.Dataset, split: str) -> datasets.Dataset:
    """Holds out a tenth of the documents; of a few documents, the last tenth of each one's text."""
    if split == "all":
        return documents
    of_split = [split_of(name) == split for name in documents["name"]]
    if len(documents) >= FEW_DOCUMENTS and any(of_split) and not all(of_split):
        return documents.select(np.flatnonzero(of_split))
    edges = [
        (name, text, len(text) * 9 // 10)
        for name, text in zip(documents["name"], documents["text"])
    ]
    texts = [text[:cut] if split == "train" else text[cut:] for _, text, cut in edges]
    return datasets.Dataset.from_dict({"name": documents["name"], "text": texts})


def load_blocks(data: str, tokenizer, length: int, split: str) -> Blocks:
    """Token blocks of a corpus.

    data: `docs`, `code`, a text, JSONL or parquet file or folder, or a Hugging Face dataset id.
    split: "train", "heldout" or "all". Returns tokens [N, length] int64.
    Raises StepimpError for text that is missing, empty, not UTF-8 or shorter than one block.
    """
    documents = load_documents(data, split)
    fingerprint = digest(
        corpus_fingerprint(documents), tokenizer_fingerprint(tokenizer), str(length)
    )
    tokens = tokenized_blocks(documents, tokenizer, length, fingerprint)
    if not len(tokens):
        raise StepimpError(
            f"{data} ({split}) has less text than one sequence of {length} tokens: give more text."
        )
    return Blocks(tokens, digest(fingerprint, split))


def hub_split(found: datasets.DatasetDict, data: str, split: str) -> datasets.Dataset:
    """The training or held-out documents of a hub dataset: its own test split, else its last
    documents.
    """
    if "train" not in found:
        raise StepimpError(f"{data} has no split 'train': its splits are {', '.join(found)}.")
    train = as_documents(found["train"], data)
    if split == "all":
        return train
    tests = [name for name in ("test", "validation") if name in found]
    if tests:
        return train if split == "train" else as_documents(found[tests[0]], data)
    cut = len(train) - min(HUB_HELD_OUT, len(train) // 10)
    return train.select(range(cut) if split == "train" else range(cut, len(train)))


def corpus_fingerprint(documents: datasets.Dataset) -> str:
    """Names the documents' text. A large hub dataset is named by the library's own fingerprint."""
    if len(documents) > HUB_HELD_OUT:
        return documents._fingerprint
    return digest(*chain.from_iterable(zip(documents["name"], documents["text"])))


def tokenized_blocks(
    documents: datasets.Dataset, tokenizer, length: int, fingerprint: str
) -> torch.Tensor:
    separator = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []

    def pack(batch):
        ids = tokenizer(
            batch["text"], add_special_tokens=False, return_attention_mask=False, verbose=False
        ).input_ids
        stream = list(chain.from_iterable(chain(one, separator) for one in ids))
        return {
            "tokens": [stream[i : i + length] for i in range(0, len(stream) - length + 1, length)]
        }

    packed = documents.map(
        pack,
        batched=True,
        batch_size=10_000,
        remove_columns=documents.column_names,
        features=datasets.Features(
            {"tokens": datasets.List(datasets.Value("int32"), length=length)}
        ),
        cache_file_name=str(cache_folder() / f"blocks-{fingerprint}.arrow"),
        new_fingerprint=fingerprint,
    )
    if not len(packed):
        return torch.empty(0, length, dtype=torch.long)
    return torch.as_tensor(packed.with_format("numpy")["tokens"][:], dtype=torch.long).view(
        -1, length
    )


def train_tokenizer(data: str, vocab_size: int):
    """A byte-level BPE tokenizer for a corpus' training documents; the mask token is its last
    entry.

    vocab_size counts the end-of-text and the mask token. Returns a transformers tokenizer.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    documents = load_documents(data, "train")
    documents = documents.select(range(min(TOKENIZER_DOCUMENTS, len(documents))))
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((document["text"] for document in documents), trainer)
    bpe.add_special_tokens(["<|mask|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|endoftext|>", mask_token="<|mask|>"
    )
