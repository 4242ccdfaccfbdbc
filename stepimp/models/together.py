"""What models must agree on to be members of one family."""

from stepimp.errors import StepimpError
from stepimp.models.denoiser import Denoiser
from stepimp.text.blocks import tokenizer_fingerprint

SHARED = {
    "vocab_size": "vocabulary size",
    "mask_id": "mask token",
    "shift": "shift of predictions",
    "frame": "frame of special tokens",
    "noise": "noise schedule",
    "tokenizer": "tokenizer",
}


def shared_facts(model: Denoiser, tokenizer) -> dict:
    """What a family's manifest says of the things that its members share; see `SHARED`."""
    return {
        "vocab_size": model.vocab_size,
        "mask_id": model.mask_id,
        "shift": model.shift,
        "frame": [list(part) for part in model.frame],
        "noise": model.noise.name,
        "tokenizer": tokenizer_fingerprint(tokenizer),
    }


def check_together(first: str, facts: dict, other: str, other_facts: dict):
    """Raises StepimpError where two models, by their `shared_facts`, are not of one family."""
    for what, name in SHARED.items():
        if facts[what] == other_facts[what]:
            continue
        a, b = facts[what], other_facts[what]
        differ = (
            "their tokenizers differ"
            if what == "tokenizer"
            else f"the {name} is {a} in one, {b} in another"
        )
        raise StepimpError(f"{first} and {other} are not of one family: {differ}.")
