"""Text that was tokenised beforehand, with its tokenizer, in one safetensors file: all that a
training on another machine needs.
"""

import itertools
import json
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from stepimp.errors import StepimpError
from stepimp.scratch import writing
from stepimp.text.blocks import Blocks, load_blocks

SPLITS = ("train", "heldout")
COPIED = 1 << 24  # bytes copied at once
SPECIAL = ("eos_token", "mask_token")


def write_token_file(
    file: Path, data: str, tokenizer, length: int, column: str = "text"
) -> dict[str, Blocks]:
    """Tokenises both splits of a corpus into blocks of `length` tokens and writes them.

    Raises StepimpError for a tokenizer without a tokenizer.json, and where the file cannot be
    written.
    """
    if not tokenizer.is_fast:
        raise StepimpError(
            f"{type(tokenizer).__name__} is written in Python and cannot be kept in a file: train "
            "on the text itself, or choose a tokenizer with a tokenizer.json."
        )
    blocks = {split: load_blocks(data, tokenizer, length, split, column) for split in SPLITS}
    facts = {"data": data, "tokenizer": tokenizer.backend_tokenizer.to_str()}
    facts |= {name: getattr(tokenizer, name) for name in SPECIAL if getattr(tokenizer, name)}
    facts |= {f"{split}_fingerprint": part.fingerprint for split, part in blocks.items()}
    with writing(file) as scratch, open(scratch, "wb") as written:
        written.write(header({split: part.tokens for split, part in blocks.items()}, facts))
        for part in blocks.values():
            if part.file:
                copy_bytes(part.file, written, part.tokens.nbytes)
    return blocks


def header(tensors: dict[str, torch.Tensor], facts: dict[str, str]) -> bytes:
    """The beginning of a safetensors file of int32 tensors, whose bytes follow in this order.

    safetensors itself would read all of them into memory.
    """
    ends = [0, *itertools.accumulate(tensor.nbytes for tensor in tensors.values())]
    described = {
        name: {"dtype": "I32", "shape": list(tensor.shape), "data_offsets": [start, stop]}
        for (name, tensor), start, stop in zip(tensors.items(), ends, ends[1:])
    }
    text = json.dumps({"__metadata__": facts} | described).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def copy_bytes(source: Path, target: BinaryIO, count: int):
    """Appends the first bytes of a file."""
    with open(source, "rb") as file:
        while count:
            part = file.read(min(count, COPIED))
            target.write(part)
            count -= len(part)


def read_token_file(file: Path, length: int):
    """(name of the corpus, tokenizer, training blocks, held-out blocks) of a file.

    Raises StepimpError for a file that `write_token_file` did not write, or of another length.
    """
    file.open("rb").close()  # whose error says why; that of safe_open is always "No such file"
    try:
        with safe_open(file, "pt") as opened:
            facts = opened.metadata()
            tensors = [opened.get_tensor(split) for split in SPLITS]
        special = {name: facts[name] for name in SPECIAL if name in facts}
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(facts["tokenizer"]), **special
        )
        fingerprints = [facts[f"{split}_fingerprint"] for split in SPLITS]
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise StepimpError(f"{file} is not a file of prepared tokens: {error}.") from error
    if tensors[0].shape[1] != length:
        raise StepimpError(
            f"{file} has sequences of {tensors[0].shape[1]} tokens, not of {length}: prepare it "
            "again or train with that length."
        )
    return facts["data"], tokenizer, *map(Blocks, tensors, fingerprints)
