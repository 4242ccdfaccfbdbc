"""Plans of steps and models together: how many tokens each forward pass reveals, and with which
model.

Positions are revealed in a uniformly random order, group by group. Written from the first group to
the last: `L*12,H*30+8` reveals 12 tokens by one pass of the light model, then 30 and 8 by one pass
of the heavy model each; `12b*2x16` is 16 passes of 12b that reveal 2 tokens each.
"""

import re
from dataclasses import dataclass
from itertools import groupby

from stepimp import pictures
from stepimp.errors import StepimpError
from stepimp.schedules.notation import model_of, parts_of, written_names
from stepimp.wording import counted

SIZE = r"\d{1,18}(?:x\d{1,18})?"
PART = re.compile(rf"([^,\s*]+)\*({SIZE}(?:\+{SIZE})*)")
MOST_PASSES = 1_000_000


@dataclass(frozen=True)
class Plan:
    """groups: (model name, tokens revealed) from the first forward pass to the last.

    Raises StepimpError where there is no group or one that reveals nothing.
    """

    groups: tuple[tuple[str, int], ...]

    def __post_init__(self):
        if not self.groups or min(tokens for _, tokens in self.groups) < 1:
            raise StepimpError("Each group of a plan must reveal at least one token.")

    @property
    def length(self) -> int:
        """L, the number of masked positions it begins with."""
        return sum(tokens for _, tokens in self.groups)

    @property
    def forwards(self) -> int:
        """Forward passes per sample, one for each group."""
        return len(self.groups)

    @property
    def models(self) -> tuple[str, ...]:
        """The models it uses, each once, in the order of first use."""
        return tuple(dict.fromkeys(model for model, _ in self.groups))

    def _repr_html_(self) -> str:
        """The plan as a strip of its forward passes, in notebooks."""
        ends = ("first pass", "last pass")
        return pictures.strip(self.groups, self.format(), "tokens", ends)

    def forwards_of(self, model: str) -> int:
        """Forward passes of one model per sample."""
        return sum(name == model for name, _ in self.groups)

    def format(self, heavy: str | None = None, light: str | None = None) -> str:
        """The notation; with H and L where the two names given cover the plan."""
        names, parts = written_names(self.models, heavy, light), []
        for model, groups in groupby(self.groups, key=lambda group: group[0]):
            runs = [
                (tokens, len(list(equal)))
                for tokens, equal in groupby(tokens for _, tokens in groups)
            ]
            sizes = (f"{tokens}x{count}" if count > 1 else str(tokens) for tokens, count in runs)
            parts.append(f"{names[model]}*{'+'.join(sizes)}")
        return ",".join(parts)


def parse(
    text: str, heavy: str | None, light: str | None = None, length: int | None = None
) -> Plan:
    """Reads the notation. H and L stand for `heavy` and `light`; length: the number of tokens it
    must reveal, None for any.

    Raises StepimpError where it does not parse, has an empty group, uses a letter without a model,
    or reveals another number of tokens.
    """
    groups: list[tuple[str, int]] = []
    for part in parts_of(text):
        match = PART.fullmatch(part)
        if not match:
            raise StepimpError(
                f"Plan {text!r}: cannot read {part!r}. Write the tokens that each forward pass of "
                "a model reveals, such as L*12,H*30+8 or 4b*12,12b*2x16."
            )
        model = model_of(match[1], heavy, light, text)
        for size in match[2].split("+"):
            tokens, _, count = size.partition("x")
            if len(groups) + int(count or 1) > MOST_PASSES:
                raise StepimpError(
                    f"Plan {text!r} has more than {MOST_PASSES:,} forward passes, the most."
                )
            groups += [(model, int(tokens))] * int(count or 1)
    plan = Plan(tuple(groups))
    if length is not None and plan.length != length:
        raise StepimpError(
            f"Plan {text!r} reveals {counted(plan.length, 'token')}, not {length}: change one "
            "of them."
        )
    return plan
