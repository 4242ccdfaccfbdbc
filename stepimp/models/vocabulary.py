"""What a tokenizer says about a model: its mask token, unknown ids, and tokens never masked."""

from dataclasses import dataclass

from stepimp.errors import StepimpError
from stepimp.models.layouts.layout import Layout

NO_FRAME = ((), ())


@dataclass(frozen=True)
class Vocabulary:
    """Token ids as the denoiser sees them; see `stepimp.models.denoiser.Denoiser`."""

    size: int
    mask_id: int
    unknown_ids: tuple[int, ...] = ()
    special_ids: frozenset[int] = frozenset()
    frame: tuple[tuple[int, ...], tuple[int, ...]] = NO_FRAME


def mask_token(layout: Layout, rows: int, tokenizer=None) -> int:
    """The config's mask id, else the tokenizer's mask token, else the last id.

    Raises StepimpError where config and tokenizer disagree, and for an id outside the embedding.
    """
    of_tokenizer = getattr(tokenizer, "mask_token_id", None)
    if layout.mask_id is not None and of_tokenizer not in (None, layout.mask_id):
        raise StepimpError(
            f"its config has the mask token {layout.mask_id} and its tokenizer {of_tokenizer}: "
            "put the tokenizer it was trained with beside the weights."
        )
    chosen = of_tokenizer if layout.mask_id is None else layout.mask_id
    chosen = rows - 1 if chosen is None else chosen
    if not 0 <= chosen < rows:
        raise StepimpError(f"mask_token_id {chosen} is not in the vocabulary of {rows}.")
    return chosen


def vocabulary(layout: Layout, tokenizer=None) -> Vocabulary:
    """How the rows of a layout's embedding are used. Without a tokenizer all of them are."""
    rows = layout.config.vocab_size
    if tokenizer is None:
        return Vocabulary(rows, mask_token(layout, rows))
    ids = set(tokenizer.get_vocab().values())
    if max(ids) >= rows:
        raise StepimpError(
            f"its tokenizer has {max(ids) + 1} tokens and the model {rows}: put the right "
            "tokenizer.json beside the weights."
        )
    mask_id = mask_token(layout, rows, tokenizer)
    assigned = ids | {mask_id}
    size = rows if layout.mdlm else max(assigned) + 1  # MDLM's head is left whole
    unknown = tuple(sorted(set(range(size)) - assigned))
    if not layout.special_tokens:
        return Vocabulary(size, mask_id, unknown)
    frame = framing(tokenizer)
    special = {*frame[0], *frame[1], tokenizer.pad_token_id} - {None, mask_id}
    return Vocabulary(size, mask_id, unknown, frozenset(special), frame)


def framing(tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens that the tokenizer puts before and after a text, such as CLS and SEP."""
    inside = tokenizer("a", add_special_tokens=False).input_ids
    whole = tokenizer("a", add_special_tokens=True).input_ids
    starts = (i for i in range(len(whole)) if whole[i : i + len(inside)] == inside)
    start = next(starts, 0)
    return tuple(whole[:start]), tuple(whole[start + len(inside) :])
