"""Given text around what is generated: prefixes, suffixes, prompts, and texts with gaps to fill."""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from stepimp.checks import is_text
from stepimp.errors import StepimpError
from stepimp.models.loading import Family
from stepimp.text.cache import digest
from stepimp.text.encoding import encode
from stepimp.wording import counted

GAP = re.compile(r"\{\{(\d*)\}\}|\{(\d{0,18})\}")
OPEN = None  # a gap that shares with the others what the given text leaves
Part = str | int | None


@dataclass(frozen=True)
class Prompt:
    """Given text and gaps, in order."""

    parts: tuple[Part, ...]
    """A str is text, an int a gap of as many tokens, None an open gap: open gaps share what is
    left, the first ones a token more where it does not divide.
    """

    @property
    def prefix(self) -> str:
        """The text before the first gap."""
        return self.parts[0] if self.parts and isinstance(self.parts[0], str) else ""

    def describe(self) -> str:
        """The prompt as one line, for messages."""
        text = "".join(
            part if isinstance(part, str) else f"{{{'' if part is None else part}}}"
            for part in self.parts
        )
        return repr(text if len(text) <= 60 else text[:57] + "...")


def continued(prefix: str = "", suffix: str = "", mask_token: str | None = None) -> Prompt:
    """Text to continue, with a text that it ends with.

    mask_token: a token to fill in where the texts have it; None: they are plain text.
    """
    return Prompt((*with_masks(prefix, mask_token), OPEN, *with_masks(suffix, mask_token)))


def with_gaps(text: str, mask_token: str | None = None) -> Prompt:
    """A text in which {12} is a gap of 12 tokens, {} an open gap, and {{}} the characters {}."""
    parts: list[Part] = []
    plain, end = "", 0
    for match in GAP.finditer(text):
        plain += text[end : match.start()]
        end = match.end()
        doubled, size = match.groups()
        if size is None:
            plain += f"{{{doubled}}}"
            continue
        if size and not int(size):
            raise StepimpError(f"{match[0]} in {text!r} is a gap of no tokens: leave it out.")
        parts += [*with_masks(plain, mask_token), int(size) if size else OPEN]
        plain = ""
    return Prompt((*parts, *with_masks(plain + text[end:], mask_token)))


def with_masks(text: str, mask_token: str | None) -> list[Part]:
    """The text with a gap of one token for each mask token in it."""
    pieces = text.split(mask_token) if mask_token else [text]
    parts: list[Part] = [pieces[0]]
    for piece in pieces[1:]:
        parts += [1, piece]
    return [part for part in parts if part != ""]


def read_prompts(source: str, mask_token: str | None = None) -> list[Prompt]:
    """The prompts of a file, or of standard input for "-".

    A text file is one prompt, without the newline at its end. JSON Lines are many: objects of
    "prompt" (or "text") and, if wanted, "suffix", or of "infill", a text with gaps. Raises
    StepimpError for anything else.
    """
    try:
        text = sys.stdin.read() if source == "-" else Path(source).expanduser().read_text("utf-8")
        text = text.removeprefix("\ufeff")  # a byte-order mark, as editors on Windows write it
    except FileNotFoundError as error:
        raise StepimpError(
            f"There is no file of prompts {source}: a text to continue is given as the prefix."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise StepimpError(f"Cannot read the prompts of {source} as UTF-8 text: {error}") from error
    if source.endswith(".jsonl") or (source == "-" and is_json_lines(text)):
        prompts = [
            of_line(line, mask_token, f"{source}, line {number}")
            for number, line in enumerate(text.split("\n"), 1)
            if line.strip()
        ]
    else:
        prompts = [continued(text.removesuffix("\n"), mask_token=mask_token)] if text else []
    if not prompts:
        raise StepimpError(f"{source} holds no prompt.")
    return prompts


def is_json_lines(text: str) -> bool:
    """Whether the first line is a JSON object."""
    try:
        return isinstance(json.loads(text.lstrip().split("\n")[0]), dict)
    except ValueError:
        return False


def of_line(line: str, mask_token: str | None, place: str) -> Prompt:
    """The prompt of one of the JSON Lines."""
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise StepimpError(f"{place}, is not valid JSON: give one object per line.") from error
    fields = fields if isinstance(fields, dict) else {}
    given = {name for name in ("prompt", "text", "infill") if isinstance(fields.get(name), str)}
    suffix = fields.get("suffix", "")
    if len(given) != 1 or not isinstance(suffix, str) or (suffix and "infill" in given):
        raise StepimpError(
            f'{place}, is not a prompt such as {{"prompt": "..."}}, {{"prompt": "...", "suffix": '
            '"..."} or {"infill": "The {} of {12}"}.'
        )
    if "infill" in given:
        return with_gaps(fields["infill"], mask_token)
    return continued(fields[given.pop()], suffix, mask_token)


def fingerprint(prompts: list[Prompt]) -> str:
    """Names the prompts' content."""
    return digest(*(json.dumps(prompt.parts) for prompt in prompts))


def mask_text(family: Family) -> str | None:
    """How the family's mask token is written, None where its tokenizer has no text for it."""
    tokenizer, mask_id = family.tokenizer, family.any.mask_id
    return tokenizer.mask_token or (
        tokenizer.convert_ids_to_tokens(mask_id) if mask_id < len(tokenizer) else None
    )


def tokens_of(prompt: Prompt, family: Family, length: int | None) -> torch.Tensor:
    """[P] tokens of a prompt, with the mask token in its gaps; P is the length without the special
    tokens that the family's models expect around each text.

    length: tokens of the whole text; None: the models' maximum, or what a prompt without open gaps
    has. Raises StepimpError where the text does not fit, or leaves no position to fill.
    """
    parts = encoded(prompt, family)
    sizes = [part if isinstance(part, int) else len(part) for part in parts]
    if all(isinstance(part, str) for part in prompt.parts):
        raise StepimpError(
            f"The text {prompt.describe()} has no gap to fill: write {{}} where one is, or {{12}} "
            "for one of 12 tokens."
        )
    around = family.around
    open_gaps = prompt.parts.count(OPEN)
    if length is None:
        length = family.length if open_gaps else sum(sizes) + around
    if length > family.length:
        raise StepimpError(
            f"Length {length} is outside 1..{family.length}, the models' maximum: choose another "
            f"one for {prompt.describe()}, or smaller gaps."
        )
    left = length - around - sum(sizes)
    if left < open_gaps:
        special = f" and there are {around} special tokens," if around else ""
        raise StepimpError(
            f"The given text {prompt.describe()} has {counted(sum(sizes), 'token')},{special} the "
            f"whole length of {length} or more: shorten it or choose a larger length."
        )
    if left and not open_gaps:
        raise StepimpError(
            f"The text {prompt.describe()} has {counted(sum(sizes), 'token')} and no open gap, so "
            f"that {left} of a length of {length} are left over: leave the length out, or write "
            "{} for a gap that takes them."
        )
    shares = iter([left // open_gaps + (i < left % open_gaps) for i in range(open_gaps)])
    tokens: list[int] = []
    for part, ids in zip(prompt.parts, parts):
        gap = next(shares) if part is OPEN else ids
        tokens += [family.any.mask_id] * gap if isinstance(gap, int) else gap
    return torch.tensor(tokens)


def encoded(prompt: Prompt, family: Family) -> list[list[int] | int]:
    """Token ids of each text, the size of each gap, 0 for an open one.

    Raises StepimpError for bytes that are not UTF-8, which Python keeps as half a surrogate pair.
    """
    for part in prompt.parts:
        if isinstance(part, str) and not is_text(part):
            raise StepimpError(f"The given text {ascii(part)} is not UTF-8 text.")
    return [
        encode(family.tokenizer, [part])[0] if isinstance(part, str) else part or 0
        for part in prompt.parts
    ]
