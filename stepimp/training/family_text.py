"""The text that a family is trained on, its tokenizer, and the vocabulary of its members."""

from pathlib import Path

from stepimp.errors import StepimpError
from stepimp.models.loading import open_tokenizer
from stepimp.results import results_folder
from stepimp.text.blocks import load_blocks, tokenizer_fingerprint, train_tokenizer
from stepimp.text.files import PREPARED
from stepimp.training.token_file import read_token_file, write_token_file

VOCAB_SIZE = 512  # of a BPE, unless another is asked for


def prepare_text(
    file: Path, data: str, length: int, tokenizer_name, vocab_size, column: str = "text"
) -> dict[str, int]:
    """Writes a corpus as a file of tokens that `train_family` takes as data. Returns the number of
    sequences per split. Raises StepimpError where the file cannot be written, before the work.
    """
    results_folder(file.parent)
    tokenizer = (
        open_tokenizer(tokenizer_name)
        if tokenizer_name
        else train_tokenizer(data, vocab_size or VOCAB_SIZE, column)
    )
    blocks = write_token_file(file, data, tokenizer, length, column)
    return {split: len(part.tokens) for split, part in blocks.items()}


def open_text(
    folder: Path, data: str, length: int, tokenizer_name, vocab_size, column: str = "text"
):
    """(name of the corpus, tokenizer, training blocks, held-out blocks) for a family's folder.

    The tokenizer is the folder's, where it has one; the prepared file's; the named one; or a BPE
    trained on the text. Raises StepimpError where the folder's is not the one asked for.
    """
    prepared = Path(data).expanduser().suffix == PREPARED
    tokenizer = None
    if prepared:
        data, tokenizer, *blocks = read_token_file(Path(data).expanduser(), length)
    elif tokenizer_name:
        tokenizer = open_tokenizer(tokenizer_name)
    if (folder / "tokenizer.json").exists():
        existing = open_tokenizer(str(folder))
        if vocab_size and not prepared and len(existing) != vocab_size:
            tokenizer = train_tokenizer(data, vocab_size, column)  # smaller where text is short
        if tokenizer and tokenizer_fingerprint(tokenizer) != tokenizer_fingerprint(existing):
            raise StepimpError(
                f"{folder} has a tokenizer of {len(existing)} tokens already, not the one asked "
                "for: train into a new folder."
            )
        tokenizer = existing
    tokenizer = tokenizer or train_tokenizer(data, vocab_size or VOCAB_SIZE, column)
    if not prepared:
        blocks = [
            load_blocks(data, tokenizer, length, split, column) for split in ("train", "heldout")
        ]
    return data, tokenizer, *blocks


def vocabulary_of(tokenizer) -> dict[str, int]:
    """MDLMConfig arguments: the size of the vocabulary, and the mask token, which is one more where
    the tokenizer has none.
    """
    mask = len(tokenizer) if tokenizer.mask_token_id is None else tokenizer.mask_token_id
    return {"vocab_size": max(len(tokenizer), mask + 1), "mask_token_id": mask}
