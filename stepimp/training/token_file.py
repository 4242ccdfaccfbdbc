"""Text that was tokenised beforehand, with its tokenizer, in one safetensors file: all that a
training on another machine needs.
"""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from stepimp.errors import StepimpError
from stepimp.text.blocks import Blocks, load_blocks

SUFFIX = ".safetensors"
SPLITS = ("train", "heldout")
SPECIAL = ("eos_token", "mask_token")


def write_token_file(
    file: Path, data: str, tokenizer, length: int, column: str = "text"
) -> dict[str, Blocks]:
    """Tokenises both splits of a corpus into blocks of `length` tokens and writes them."""
    if not tokenizer.is_fast:
        raise StepimpError(
            f"{type(tokenizer).__name__} is written in Python and cannot be kept in a file: train "
            "on the text itself, or choose a tokenizer with a tokenizer.json."
        )
    blocks = {split: load_blocks(data, tokenizer, length, split, column) for split in SPLITS}
    facts = {"data": data, "tokenizer": tokenizer.backend_tokenizer.to_str()}
    facts |= {name: getattr(tokenizer, name) for name in SPECIAL if getattr(tokenizer, name)}
    facts |= {f"{split}_fingerprint": part.fingerprint for split, part in blocks.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({split: part.tokens.int() for split, part in blocks.items()}, file, facts)
    return blocks


def read_token_file(file: Path, length: int):
    """(name of the corpus, tokenizer, training blocks, held-out blocks) of a file.

    Raises StepimpError for a file that `write_token_file` did not write, or of another length.
    """
    try:
        with safe_open(file, "pt") as opened:
            facts = opened.metadata()
            tensors = [opened.get_tensor(split).long() for split in SPLITS]
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
